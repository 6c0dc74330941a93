//! The kinds of steps that are tortured, each with its way back, and the database they start from.

use crate::support::Project;

/// What every database of the laboratory holds before the first migration. `counter` counts effects.
pub const BASE: &str = "
CREATE TABLE counter (tag text NOT NULL, way text NOT NULL);
CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO big SELECT i, i % 7 FROM generate_series(1, 300) AS i;
CREATE INDEX spare_idx ON big (n);
CREATE TABLE few (id int PRIMARY KEY, tag text NOT NULL);
INSERT INTO few SELECT i, '2' || chr(96 + i) FROM generate_series(1, 5) AS i;
CREATE TABLE p (id int NOT NULL, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);
INSERT INTO p SELECT i, i FROM generate_series(0, 199) AS i;
CREATE TYPE mood AS ENUM ('bad', 'good');
";

/// The steps before and behind one of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// They make a table each, and count that they did.
    Counting,
    /// They make a table each and touch nothing else, so that several share one wait for the disk. That they ran twice would
    /// show in the second one failing.
    Empty,
}

/// A kind of step.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Forward script.
    pub up: &'static str,
    /// Reverse script. Reverse scripts of several parts find whatever parts of the forward script ran.
    pub down: &'static str,
    /// Tags the forward script counts.
    pub tags: &'static [&'static str],
    /// What it stands between.
    pub around: Around,
}

/// All kinds.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "transactional",
        up: "CREATE TABLE a (n int); INSERT INTO counter VALUES ('2', 'up');",
        down: "INSERT INTO counter VALUES ('2', 'down'); DROP TABLE a;",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "new_only",
        up: "CREATE TABLE a (n int PRIMARY KEY);\nCREATE INDEX ON a (n);\n",
        down: "DROP TABLE a;",
        tags: &[],
        around: Around::Empty,
    },
    Kind {
        name: "own_begin",
        up: "BEGIN;\nCREATE TABLE a (n int);\nINSERT INTO counter VALUES ('2', 'up');\nCOMMIT;\n",
        down: "BEGIN;\nINSERT INTO counter VALUES ('2', 'down');\nDROP TABLE a;\nCOMMIT;\n",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "several_transactions",
        up: "BEGIN; CREATE TABLE a (n int); INSERT INTO counter VALUES ('2', 'up'); COMMIT;\n\
             BEGIN; CREATE TABLE b (n int); INSERT INTO counter VALUES ('2b', 'up'); COMMIT;\n",
        down: "BEGIN; DROP TABLE IF EXISTS b; INSERT INTO counter VALUES ('2b', 'down'); COMMIT;\n\
               BEGIN; DROP TABLE IF EXISTS a; INSERT INTO counter VALUES ('2', 'down'); COMMIT;\n",
        tags: &["2", "2b"],
        around: Around::Counting,
    },
    Kind {
        name: "copy",
        up: "CREATE TABLE a (n int);\nINSERT INTO counter VALUES ('2', 'up');\nCOPY a FROM stdin;\n1\n2\n3\n\\.\n",
        down: "INSERT INTO counter VALUES ('2', 'down'); DROP TABLE a;",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "create_index_concurrently",
        up: "INSERT INTO counter VALUES ('2', 'up');\nCREATE INDEX CONCURRENTLY made_idx ON big (n, id);\n\
             INSERT INTO counter VALUES ('2b', 'up');\n",
        down: "INSERT INTO counter VALUES ('2b', 'down');\nDROP INDEX CONCURRENTLY IF EXISTS made_idx;\n\
               INSERT INTO counter VALUES ('2', 'down');\n",
        tags: &["2", "2b"],
        around: Around::Counting,
    },
    Kind {
        name: "drop_index_concurrently",
        up: "DROP INDEX CONCURRENTLY spare_idx;\nINSERT INTO counter VALUES ('2', 'up');\n",
        down: "CREATE INDEX CONCURRENTLY IF NOT EXISTS spare_idx ON big (n);\n\
               INSERT INTO counter VALUES ('2', 'down');\n",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "reindex_concurrently",
        up: "REINDEX INDEX CONCURRENTLY spare_idx;\nINSERT INTO counter VALUES ('2', 'up');\n",
        down: "REINDEX TABLE CONCURRENTLY big;\nINSERT INTO counter VALUES ('2', 'down');\n",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "detach_concurrently",
        up: "ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY;\n",
        down: "ALTER TABLE p2 DROP CONSTRAINT IF EXISTS p2_id_check;\n\
               ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);\n",
        tags: &[],
        around: Around::Counting,
    },
    Kind {
        name: "chunked",
        up: "-- chunk: few by id, size 2\n\
             INSERT INTO counter SELECT few.tag, 'up' FROM few WHERE true /*chunk*/;\n\
             -- chunk: big by id, size 300\nUPDATE big SET n = n + 1;\n",
        // How many rows were reached cannot be told from the numbers: the rows say so themselves.
        down: "-- chunk: big by id, size 300\nUPDATE big SET n = id % 7 WHERE n <> id % 7;\n\
               -- chunk: few by id, size 2\n\
               INSERT INTO counter SELECT few.tag, 'down' FROM few WHERE true /*chunk*/;\n",
        tags: &["2a", "2b", "2c", "2d", "2e"],
        around: Around::Counting,
    },
    Kind {
        name: "vacuum",
        up: "VACUUM big;\nINSERT INTO counter VALUES ('2', 'up');\n",
        down: "VACUUM (ANALYZE) big;\nINSERT INTO counter VALUES ('2', 'down');\n",
        tags: &["2"],
        around: Around::Counting,
    },
    Kind {
        name: "enum_value",
        up: "ALTER TYPE mood ADD VALUE 'fair' BEFORE 'good';\nINSERT INTO counter VALUES ('2', 'up');\n",
        down: "ALTER TYPE mood RENAME TO mood_old;\nCREATE TYPE mood AS ENUM ('bad', 'good');\nDROP TYPE mood_old;\n\
               INSERT INTO counter VALUES ('2', 'down');\n",
        tags: &["2"],
        around: Around::Counting,
    },
];

impl Kind {
    /// Every tag that is counted once when all three migrations are in effect.
    pub fn all_tags(&self) -> Vec<&'static str> {
        let mut tags = match self.around {
            Around::Counting => [&["1"], self.tags, &["3"]].concat(),
            Around::Empty => self.tags.to_vec(),
        };
        tags.sort_unstable();
        tags
    }

    /// One step of this kind.
    pub fn write_alone(&self, project: &Project) {
        project.pair(&format!("2_{}", self.name), self.up, self.down);
    }

    /// A plain step, one of this kind, and a plain step.
    pub fn write(&self, project: &Project) {
        for (id, table) in [("1_first", "first"), ("3_last", "last")] {
            let tag = &id[..1];
            let (there, back) = match self.around {
                Around::Counting => (
                    format!("INSERT INTO counter VALUES ('{tag}', 'up');\n"),
                    format!("INSERT INTO counter VALUES ('{tag}', 'down');\n"),
                ),
                Around::Empty => (String::new(), String::new()),
            };
            let up = format!("CREATE TABLE {table} (n int);\n{there}");
            project.pair(id, &up, &format!("{back}DROP TABLE {table};\n"));
        }
        self.write_alone(project);
    }
}
