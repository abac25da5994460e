delete from batch_aggregations where hour is null and date >= :first and date < :until
