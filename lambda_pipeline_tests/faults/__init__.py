"""Everything killed, frozen, starved and lied to, with the real servers: nothing is lost, nothing counts twice.

| fault | tried in |
| --- | --- |
| a daemon or a run killed (-9) at any moment | test_speed_killed, test_ingest, test_batch_killed, test_publish_killed |
| any process of a demo killed | test_supervised; the page alone: test_folder_and_ports |
| PostgreSQL restarted, killed, away, frozen | test_servers_away, test_servers_frozen; the page: browser/test_outage |
| Kafka restarted, killed, away, frozen | test_servers_away, test_servers_frozen, test_ingest |
| an API hangs, refuses, answers nonsense or without end | test_apis; each answer: ingestion/test_answers, test_http |
| a poisonous message | three of a hundred in every load; test_large_values, integration/test_speed_poison |
| two speed daemons, one frozen and thawed after a rebalance | test_speed_killed |
| batch re-run, run twice at once, or killed in the middle | test_batch_killed, test_publish_killed |
| a process frozen in the middle of a commit or publish | test_speed_killed, test_publish_killed |
| a topic recreated or cut short | integration/test_speed_log_changes, integration/test_raw_data |
| disk full | test_disk_full |
| a port taken, two stacks on one folder | test_folder_and_ports, test_supervised, integration/test_embedded_kafka |
| a clock that jumps | test_clock |
| everything lost | test_backup |

`make test` runs a short part of them from a fixed seed, `make test-faults` all of them, and `make soak` mixes them.
"""
