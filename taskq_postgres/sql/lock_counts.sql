-- Nobody else sums up or counts anew before the end of this transaction.
select count(*) from (select pg_advisory_xact_lock(hashtext({literal}), 3)) k
