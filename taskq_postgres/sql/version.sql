select version, checksum, oldest_speaking from {schema}.migration order by version
