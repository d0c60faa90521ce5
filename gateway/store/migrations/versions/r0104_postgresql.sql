CREATE TABLE shared_files (
    name text COLLATE "C" NOT NULL,
    mark text COLLATE "C" NOT NULL,
    placed_at timestamp with time zone,
    CONSTRAINT pk_shared_files PRIMARY KEY (name)
);
