CREATE TABLE shared_files (
    name TEXT NOT NULL,
    mark TEXT NOT NULL,
    placed_at BIGINT,
    CONSTRAINT pk_shared_files PRIMARY KEY (name)
);
