"""The report of many targets: all in the table, charts for the first ones only."""

from pathlib import Path

from catalog.report.page import CHARTED, write_report
from catalog.stores.vectors import Vectors
from tests.catalog.lakes import fresh_lake


def test_every_target_has_a_row_and_the_first_have_charts(tmp_path: Path) -> None:
    names = [f"target-{number:03d}" for number in range(CHARTED + 6)]
    vectors = Vectors.open(str(tmp_path / "vectors"), lock_path=tmp_path / "writer.lock")
    with fresh_lake(tmp_path) as lake:
        write_report(lake, vectors, tmp_path / "report.html", targets=names, min_groups=10)
        page = (tmp_path / "report.html").read_text()
        write_report(lake, vectors, tmp_path / "short.html", targets=names[:CHARTED], min_groups=10)
    assert all(f"<b>{name}</b>" in page for name in names)
    assert page.count('<section class="card"><h3>') == CHARTED
    assert f"first {CHARTED} of {CHARTED + 6} targets" in page
    assert "Charts are drawn" not in (tmp_path / "short.html").read_text()
