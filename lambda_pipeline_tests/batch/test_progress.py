"""What a run says of its progress where nobody sees a bar: a line every ten seconds, in the run's own log."""

import dagster as dg

from lambda_pipeline.batch.progress import LoggedProgress


def test_it_is_in_the_runs_log_and_not_more_often_than_every_ten_seconds() -> None:
    now = [0.0]
    progress = LoggedProgress(dg.get_dagster_logger("batch"), lambda: now[0])

    @dg.asset
    def something() -> None:
        for done in range(1, 31):
            now[0] += 1.0
            progress.report("something", done, 30)

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([something], instance=instance)
        said = [event.user_message for event in instance.all_logs(run.run_id) if " of 30" in event.user_message]
    assert said == ["something: 10 of 30", "something: 20 of 30", "something: 30 of 30"]
