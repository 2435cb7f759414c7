-- Write a document whole: kind, id, version on which it is based, data.
select {schema}.put_document_v1(%b::text, %b::text, %b::bigint, %b::bytea)
