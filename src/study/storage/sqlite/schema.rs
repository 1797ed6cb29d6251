//! The tables of Optuna's relational storage, as Optuna 5.0.0 creates them on SQLite and on PostgreSQL, and the check
//! that a database made by someone else has them in that version.

use crate::db::{Component, Db, DbError, Dialect, Tx};

use super::postgres;

/// The number that Optuna keeps in `version_info`; frozen since its first releases.
const SCHEMA_VERSION: i64 = 12;

/// The head of Optuna's chain of schema revisions.
const ALEMBIC_HEAD: &str = "v3.2.0.a";

/// `IF NOT EXISTS` everywhere: a file that Optuna made has the tables already, and gets only the index that keeps
/// trial numbers unique.
pub(super) const TABLES: Component = Component {
    name: "study",
    steps: &[
        r#"
CREATE TABLE IF NOT EXISTS studies (
    study_id INTEGER NOT NULL,
    study_name VARCHAR(512) NOT NULL,
    PRIMARY KEY (study_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS ix_studies_study_name ON studies (study_name);
CREATE TABLE IF NOT EXISTS version_info (
    version_info_id INTEGER NOT NULL,
    schema_version INTEGER,
    library_version VARCHAR(256),
    PRIMARY KEY (version_info_id),
    CHECK (version_info_id=1)
);
CREATE TABLE IF NOT EXISTS study_directions (
    study_direction_id INTEGER NOT NULL,
    direction VARCHAR(8) NOT NULL,
    study_id INTEGER NOT NULL,
    objective INTEGER NOT NULL,
    PRIMARY KEY (study_direction_id),
    UNIQUE (study_id, objective),
    FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE IF NOT EXISTS study_user_attributes (
    study_user_attribute_id INTEGER NOT NULL,
    study_id INTEGER,
    "key" VARCHAR(512),
    value_json TEXT,
    PRIMARY KEY (study_user_attribute_id),
    UNIQUE (study_id, "key"),
    FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE IF NOT EXISTS study_system_attributes (
    study_system_attribute_id INTEGER NOT NULL,
    study_id INTEGER,
    "key" VARCHAR(512),
    value_json TEXT,
    PRIMARY KEY (study_system_attribute_id),
    UNIQUE (study_id, "key"),
    FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE IF NOT EXISTS trials (
    trial_id INTEGER NOT NULL,
    number INTEGER,
    study_id INTEGER,
    state VARCHAR(8) NOT NULL,
    datetime_start DATETIME,
    datetime_complete DATETIME,
    PRIMARY KEY (trial_id),
    FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE INDEX IF NOT EXISTS ix_trials_study_id ON trials (study_id);
CREATE UNIQUE INDEX IF NOT EXISTS automl_trials_number ON trials (study_id, number);
CREATE TABLE IF NOT EXISTS trial_user_attributes (
    trial_user_attribute_id INTEGER NOT NULL,
    trial_id INTEGER,
    "key" VARCHAR(512),
    value_json TEXT,
    PRIMARY KEY (trial_user_attribute_id),
    UNIQUE (trial_id, "key"),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS trial_system_attributes (
    trial_system_attribute_id INTEGER NOT NULL,
    trial_id INTEGER,
    "key" VARCHAR(512),
    value_json TEXT,
    PRIMARY KEY (trial_system_attribute_id),
    UNIQUE (trial_id, "key"),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS trial_params (
    param_id INTEGER NOT NULL,
    trial_id INTEGER,
    param_name VARCHAR(512),
    param_value FLOAT,
    distribution_json TEXT,
    PRIMARY KEY (param_id),
    UNIQUE (trial_id, param_name),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS trial_values (
    trial_value_id INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    objective INTEGER NOT NULL,
    value FLOAT,
    value_type VARCHAR(7) NOT NULL,
    PRIMARY KEY (trial_value_id),
    UNIQUE (trial_id, objective),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS trial_intermediate_values (
    trial_intermediate_value_id INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    intermediate_value FLOAT,
    intermediate_value_type VARCHAR(7) NOT NULL,
    PRIMARY KEY (trial_intermediate_value_id),
    UNIQUE (trial_id, step),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS trial_heartbeats (
    trial_heartbeat_id INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    heartbeat DATETIME NOT NULL,
    PRIMARY KEY (trial_heartbeat_id),
    UNIQUE (trial_id),
    FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO version_info (version_info_id, schema_version, library_version)
    SELECT 1, 12, '5.0.0' WHERE NOT EXISTS (SELECT 1 FROM version_info);
INSERT INTO alembic_version (version_num)
    SELECT 'v3.2.0.a' WHERE NOT EXISTS (SELECT 1 FROM alembic_version);
"#,
        // No reference to `trials`: Optuna deletes trials and knows nothing of this table.
        r#"
CREATE TABLE automl_leases (
    trial_id INTEGER NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    beat INTEGER NOT NULL,
    renewed_us INTEGER NOT NULL
);
"#,
    ],
    postgres: &[postgres::FIRST, postgres::LEASES],
};

/// Creates what is missing, after checking that what is there can be understood.
pub(super) fn prepare(db: &Db) -> Result<(), DbError> {
    db.read(|tx| check(tx, db))?;
    db.migrate(&TABLES)
}

pub(super) fn check(tx: &Tx<'_>, db: &Db) -> Result<(), DbError> {
    let foreign = |what: String, hint: String| DbError::Foreign {
        path: db.path().to_owned(),
        what,
        hint,
    };
    if tx.has_table("alembic_version")? {
        let found = tx.rows("SELECT version_num FROM alembic_version", &[], |row| {
            Ok::<_, DbError>(row.text(0)?.to_owned())
        })?;
        if let Some(other) = found.iter().find(|v| *v != ALEMBIC_HEAD) {
            return Err(foreign(
                format!("tables of revision `{other}`, not `{ALEMBIC_HEAD}`"),
                match db.dialect() {
                    Dialect::Sqlite => format!(
                        "if Optuna made it, run `optuna storage upgrade --storage sqlite:///{}` first",
                        db.path().display()
                    ),
                    Dialect::Postgres => {
                        "if Optuna made it, run `optuna storage upgrade --storage postgresql://…` \
                                          first"
                            .to_owned()
                    }
                },
            ));
        }
    }
    if tx.has_table("version_info")? {
        let found = tx.first("SELECT schema_version FROM version_info", &[], |row| {
            row.opt_int(0)
        })?;
        if let Some(Some(other)) = found
            && other != SCHEMA_VERSION
        {
            return Err(foreign(
                format!("tables of schema version {other}, not {SCHEMA_VERSION}"),
                "another program made it: name another place with `--store`".to_owned(),
            ));
        }
    }
    Ok(())
}
