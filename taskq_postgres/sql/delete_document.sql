-- Forget a document: kind, id, version.
select {schema}.delete_document_v1(%b::text, %b::text, %b::bigint)
