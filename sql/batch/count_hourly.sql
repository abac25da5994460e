select count(*) from batch_aggregations where hour is not null and date >= :first and date < :until
