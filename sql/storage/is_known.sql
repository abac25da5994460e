-- Whether an observation of this place and time is stored already: what comes later changes nothing.
select exists (select from raw_data where location = :location and timestamp = :timestamp)
    or exists (select from realtime_data where location = :location and timestamp = :timestamp)
