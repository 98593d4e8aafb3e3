-- The words of all titles as a search sees them, each with the places where it stands: what Scores and Title patterns
-- find a search's videos by (miles/title_words.py). The index of the candidates knows these videos too, but to tell
-- their numbers it has to read the wide row of each. The next roll-up fills it.

CREATE TABLE title_words (
    word text COLLATE "C" PRIMARY KEY,
    places bytea NOT NULL                                      -- int64, big-endian: a video's number × 65536 + position in its title
);
ALTER TABLE title_words ALTER COLUMN places SET STORAGE EXTERNAL; -- it is added to often, and hardly gets smaller

GRANT SELECT ON title_words TO miles_viewer, miles_operator, miles_worker;
GRANT INSERT, UPDATE, DELETE ON title_words TO miles_worker;
