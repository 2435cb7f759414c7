select {schema}.drop_day_v1()
