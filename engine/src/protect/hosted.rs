//! Names under which hosted databases are reached. Nobody's laptop has one of them, so a database there deserves a
//! warning where nothing says that it is protected.

/// How a name is known.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// The host's name ends like this.
    Ends(&'static str),
    /// The folder of the Unix socket begins like this.
    Folder(&'static str),
}

use Sign::{Ends, Folder};

/// Endings as the services' own documentation shows them in connection strings, with the service's name.
#[rustfmt::skip]
const HOSTED: &[(Sign, &str)] = &[
    (Ends(".rds.amazonaws.com"), "Amazon RDS"),
    (Ends(".rds.amazonaws.com.cn"), "Amazon RDS"),
    (Ends(".on.aws"), "Amazon Aurora DSQL"),
    (Ends(".compute.amazonaws.com"), "Amazon EC2 (or Heroku Postgres)"),
    (Ends(".compute-1.amazonaws.com"), "Amazon EC2 (or Heroku Postgres)"),
    (Folder("/cloudsql/"), "Google Cloud SQL"),
    (Ends(".sql.goog"), "Google Cloud SQL"),
    (Ends(".alloydb-psa.goog"), "Google AlloyDB"),
    (Ends(".alloydb-psc.goog"), "Google AlloyDB"),
    (Ends(".postgres.database.azure.com"), "Azure Database for PostgreSQL"),
    (Ends(".postgres.database.usgovcloudapi.net"), "Azure Database for PostgreSQL"),
    (Ends(".postgres.database.chinacloudapi.cn"), "Azure Database for PostgreSQL"),
    (Ends(".postgres.cosmos.azure.com"), "Azure Cosmos DB for PostgreSQL"),
    (Ends(".supabase.co"), "Supabase"),
    (Ends(".supabase.com"), "Supabase"),
    (Ends(".neon.tech"), "Neon"),
    (Ends(".aivencloud.com"), "Aiven"),
    (Ends(".db.ondigitalocean.com"), "DigitalOcean"),
    (Ends("-postgres.render.com"), "Render"),
    (Ends(".rlwy.net"), "Railway"),
    (Ends(".railway.internal"), "Railway"),
    (Ends(".tsdb.cloud.timescale.com"), "Timescale Cloud"),
    (Ends(".postgresbridge.com"), "Crunchy Bridge"),
    (Ends(".flympg.net"), "Fly Managed Postgres"),
    (Ends(".pg.psdb.cloud"), "PlanetScale Postgres"),
    (Ends(".database.cloud.ovh.net"), "OVHcloud"),
    (Ends(".rdb.fr-par.scw.cloud"), "Scaleway"),
    (Ends(".rdb.nl-ams.scw.cloud"), "Scaleway"),
    (Ends(".mdb.yandexcloud.net"), "Yandex Cloud"),
    (Ends(".pg.rds.aliyuncs.com"), "Alibaba Cloud"),
    (Ends(".clever-cloud.com"), "Clever Cloud"),
];

/// The service behind a host's name or the folder of a Unix socket, where it is known.
#[must_use]
pub fn service(host: &str) -> Option<&'static str> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let known = |sign: &Sign| match sign {
        Ends(end) => host.ends_with(end),
        Folder(start) => host.starts_with(start),
    };
    HOSTED.iter().find(|(sign, _)| known(sign)).map(|(_, service)| *service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosted_names_are_known_and_local_ones_are_not() {
        for (host, expected) in [
            ("shop.c9akciq32.eu-central-1.rds.amazonaws.com", Some("Amazon RDS")),
            ("SHOP.postgres.database.azure.com.", Some("Azure Database for PostgreSQL")),
            ("/cloudsql/project:europe-west3:shop", Some("Google Cloud SQL")),
            ("db.abcdefgh.supabase.co", Some("Supabase")),
            ("ep-cool-rain-123456.eu-central-1.aws.neon.tech", Some("Neon")),
            ("dpg-abc-a.frankfurt-postgres.render.com", Some("Render")),
            ("localhost", None),
            ("rds.amazonaws.com.example.org", None),
            ("/var/run/postgresql", None),
        ] {
            assert_eq!(service(host), expected, "{host}");
        }
    }
}
