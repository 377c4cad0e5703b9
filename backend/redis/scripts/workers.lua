-- workers lists the records of the workers that are not overdue.
--
-- KEYS     workers expire
-- USES     base clock
-- ARGV     none
-- RETURNS  their records
-- COST     O(workers)
return fields(WORKERS, call('ZRANGEBYSCORE', EXPIRE, '(' .. now, '+inf'))
