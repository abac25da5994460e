delete from batch_aggregations where hour_start = :hour and hour is not null
