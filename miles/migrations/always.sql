-- Run at every start, after the migrations: what the server may not have allowed the last time. Cheap where done.

SELECT ensure_title_embeddings();
