-- Every night with its costs, the newest first
-- run_id: the night
-- outcome: ok, unchanged, alert, refused or failed
-- started_at [UTC]: when it began
-- ended_at [UTC]: when it ended
-- wall_seconds [seconds]: how long it took
-- cpu_seconds [seconds]: processor time, children included
-- peak_memory_bytes [bytes]: largest resident set, children included
-- read_bytes [bytes]: bytes read from storage, not from its cache
-- written_bytes [bytes]: bytes written to storage
-- n_rows [rows]: rows delivered while it ran, accepted or not
-- n_faults [units]: units that failed
-- n_alerts [alerts]: what no step can mend and held when it ended, refused files included
-- n_raised [alerts]: those among them that it was the first night to find
-- n_refused [files]: refused files that lay there
SELECT
    run_id, outcome, started_at, ended_at, wall_seconds, cpu_seconds, peak_memory_bytes,
    read_bytes, written_bytes, n_rows,
    json_array_length(faults_json)::BIGINT AS n_faults,
    json_array_length(coalesce(alerts_json, '[]'))::BIGINT AS n_alerts,
    len(list_filter(json_extract(coalesce(alerts_json, '[]'), '$[*]'),
        lambda a: coalesce(a ->> '$.is_raised', 'true') = 'true')) AS n_raised,
    len(list_filter(json_extract(coalesce(alerts_json, '[]'), '$[*]'),
        lambda a: a ->> '$.kind' = 'refused')) AS n_refused
FROM core.runs
WHERE flow = 'night'
ORDER BY recorded_at DESC, run_id
