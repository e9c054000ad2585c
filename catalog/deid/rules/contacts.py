"""Rules for phone, fax, e-mail, web and network addresses (D, E, F, N, O)."""

from __future__ import annotations

from catalog.deid.rule import DeidRule

_CALL = (
    "phone|phones|tel|telephone|call|called|calling|cell|mobile|contact|contacted|pager|paged|"
    "beeper|beeped|text|texted|dial|dialed|reach|reached|reachable|number|home|work|hotline|ph|"
    "callback|whatsapp|voicemail|landline|ring|rang|sms|msg|message|messages|answering|office|desk"
)
_CALL_WORDS = tuple(_CALL.split("|"))
_TLD = (
    "com|org|net|edu|gov|mil|int|info|biz|health|care|clinic|hospital|io|co|me|us|uk|ca|au|de|fr|"
    "ch|se|no|nl|es|it|pt|br|mx|jp|cn|in|ie|eu|app|dev|online|site|web|cloud|md|doctor|cz|pl|hu|"
    "fi|dk|at|be|gr|ru|kr|za|nz|ar|cl|cy|uy|is"
)
_BARE_TLD = "com|org|net|edu|gov|mil|info|biz|io|health|clinic|hospital|co\\.uk|com\\.au|ac\\.uk"
_HEX = "[0-9A-Fa-f]{1,4}"

CONTACT_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="phone_north_american",
        letter="D",
        pattern=r"(?<![\w.-])(?<!\d/)(?P<v>(?:\+?1[-. ]{0,2})?(?:\([2-9][0-9]{2}\)[-. ]{0,2}|"
        r"[2-9][0-9]{2}[-. /]{1,3})[0-9]{3}[-. ]{1,3}[0-9]{4}(?:,? ?(?:x|ext|extension)\.? "
        r"?[0-9]{1,6})?)(?![\w]|-\d)",
        example="(216) 555-0147",
        near_miss="216-55-01478",
        gate="digit",
        check="not_fax",
    ),
    DeidRule(
        id="phone_international",
        letter="D",
        pattern=r"(?<![\w.])(?P<v>(?:\+|00 ?|00)[1-9][0-9]{0,2}[-. ]{0,2}(?:\(0?[0-9]{0,4}\)[-. "
        r"]?)?(?:[0-9][-. /]?){5,12}[0-9])(?![\w])",
        example="+46 8 928 571 38",
        near_miss="+2 reflexes",
        gate="digit",
        check="international_phone",
    ),
    DeidRule(
        id="phone_trunk_zero",
        letter="D",
        pattern=r"(?<![\w.,/-])(?P<v>(?:\(0[0-9]{1,4}\)|0[1-9][0-9]{0,3})(?:[ "
        r".-][0-9]{2,4}){2,4})(?![\w]|[.-]\d)",
        example="07700 900 147",
        near_miss="0.05 100 200",
        gate="digit",
        check="trunk_phone",
    ),
    DeidRule(
        id="phone_area_in_brackets",
        letter="D",
        pattern=r"(?<![\w])(?P<v>\([0-9]{2,5}\) ?[0-9]{3,4}[- ][0-9]{3,4})(?![\w]|-\d)",
        example="(37) 788-0631",
        near_miss="(37) 788 mg",
        gate="digit",
        check="not_fax",
    ),
    DeidRule(
        id="phone_by_context",
        letter="D",
        pattern=rf"\b(?i:{_CALL})\b[^0-9]{{0,24}}?(?P<v>\(?[0-9](?:[0-9]|[ "
        rf"().-]{{1,2}}(?=[0-9(])){{5,17}}[0-9])(?![\w]|[./-]\d)",
        example="call 555-0147",
        near_miss="call if over 555 mg",
        gate="digit",
        context=_CALL_WORDS,
        check="context_phone",
    ),
    DeidRule(
        id="phone_extension",
        letter="D",
        pattern=r"\b(?i:extension|ext\.?|pager|beeper|pgr|pager id|voicemail box)(?i: number| "
        r"no\.?|:| is| at|#){0,2} ?#?(?P<v>[0-9]{3,7})(?![\w%]|[.-]\d)",
        example="ext. 4417",
        near_miss="extension of 120 degrees",
        gate="digit",
        context=("extension", "ext", "pager", "beeper", "pgr", "voicemail"),
        check="not_measure",
    ),
    DeidRule(
        id="phone_spoken",
        letter="D",
        pattern=r"\b(?i:phone|number|call|cell|reach|dial)\b[^\n]{0,30}?\b(?P<v>(?i:zero|oh|o|"
        r"one|two|three|four|five|six|seven|eight|nine)(?:[ ,-]{1,2}(?i:zero|oh|o|one|two|three|"
        r"four|five|six|seven|eight|nine)){6,11})\b",
        example="my number is two one six five five five zero one four seven",
        near_miss="my number one worry is two or three falls",
        context=("phone", "number", "call", "cell", "reach", "dial"),
    ),
    DeidRule(
        id="fax_number",
        letter="E",
        pattern=r"\b(?i:fax|faxed|facsimile|telefax|f|fx|"
        r"e-?fax)\b[^0-9\n]{0,40}?(?P<v>\+?\(?[0-9](?:[0-9]|[ "
        r"()./-]{1,3}(?=[0-9(])){5,18}[0-9])(?:x[0-9]{1,6})?(?![\w]|-\d)",
        example="fax: 216-555-0148",
        near_miss="fax the form within 24 hours",
        gate="digit",
        context=("fax", "faxed", "facsimile", "telefax", "f", "fx", "efax"),
        check="fax",
    ),
    DeidRule(
        id="email_address",
        letter="F",
        pattern=r"(?P<v>[A-Za-z0-9][\w.+%'-]{0,63}@[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9-]"
        r"{1,63}){1,4})",
        example="a.quist@example.org",
        near_miss="pain 5 @ rest",
        gate="at",
    ),
    DeidRule(
        id="email_spelled",
        letter="F",
        pattern=r"\b(?P<v>[\w.+-]{2,40} ?(?:\(at\)|\[at\]|<at>|@| at ) ?[A-Za-z0-9-]{2,40}(?: "
        r"?(?:\(dot\)|\[dot\]|<dot>| dot ) ?[A-Za-z]{2,15}){1,3})\b",
        example="quist at example dot org",
        near_miss="quist looked at a dot",
        context=("dot",),
        check="spelled_domain",
    ),
    DeidRule(
        id="url_with_scheme",
        letter="N",
        pattern=r"(?i:\b(?P<v>(?:https?|ftp|sftp|hxxps?)://[^\s<>\"')\]]{3,300}))",
        example="https://portal.example.org/u/417",
        near_miss="http error",
        gate="dot",
        context=("http", "https", "ftp", "sftp", "hxxp", "hxxps"),
    ),
    DeidRule(
        id="url_www",
        letter="N",
        pattern=rf"(?i:\b(?P<v>www\d?\.[a-z0-9-]{{1,63}}(?:\.[a-z0-9-]{{1,63}}){{0,3}}\.(?:{_TLD}"
        rf")\b(?:/[^\s<>\"']{{0,200}})?))",
        example="www.quist-family.net",
        near_miss="www. and so on",
        gate="dot",
        context=("www", "www1", "www2", "www3"),
    ),
    DeidRule(
        id="url_bare_domain",
        letter="N",
        pattern=rf"(?<![\w@.-])(?P<v>(?:[A-Za-z0-9][A-Za-z0-9-]{{1,62}}\.){{1,3}}(?:{_BARE_TLD})("
        rf"?:/[^\s<>\"']{{0,200}})?)(?![\w@-])",
        example="quistfamily.com/photos",
        near_miss="quistfamily.come",
        gate="dot",
        check="not_email",
    ),
    DeidRule(
        id="url_bare_path",
        letter="N",
        pattern=rf"(?<![\w@.-])(?P<v>(?:[a-z0-9][a-z0-9-]{{1,62}}\.){{1,3}}(?:{_TLD})/[^\s<>\"']"
        rf"{{1,200}})",
        example="portal.quist.ch/u/417",
        near_miss="1.5mg/kg",
        gate="dot",
        check="domain",
    ),
    DeidRule(
        id="ip_v4",
        letter="O",
        pattern=r"(?<![\w.])(?P<v>(?:[0-9]{1,3}\.){3}[0-9]{1,3})(?![\w]|\.\d)",
        example="203.0.113.77",
        near_miss="303.0.113.77",
        gate="dot",
        check="ip_v4",
    ),
    DeidRule(
        id="ip_v6",
        letter="O",
        pattern=rf"(?<![\w:.])(?P<v>(?:{_HEX}:){{1,7}}(?::{_HEX}){{0,6}}(?:{_HEX}|:)|"
        rf"::(?:{_HEX}:){{0,6}}{_HEX})(?![\w:])",
        example="2001:db8::8a2e:370:7334",
        near_miss="10:30:15",
        gate="colon",
        check="ip_v6",
    ),
)
