//! What matches would come to.

use std::sync::Arc;

use sqlx::PgConnection;

use super::statement::{self, Patience, Verdict};
use super::{Match, MatchError, Outcome};

/// Makes matches on a connection whose tables are a copy ([`crate::db::rehearsal`]), with the statement
/// and the order of the writer. The outcomes come in the order of the matches. One that cannot be written fails alone.
pub async fn rehearse(connection: &mut PgConnection, matches: &[Match]) -> Vec<Result<Outcome, MatchError>> {
    match together(connection, matches).await {
        Ok(outcomes) => outcomes,
        Err(error) if matches.len() <= 1 => {
            let error = Arc::new(error);
            matches.iter().map(|_| Err(MatchError::Database(Arc::clone(&error)))).collect()
        }
        Err(_) => {
            let mut outcomes = Vec::with_capacity(matches.len());
            for wanted in matches {
                outcomes.extend(Box::pin(rehearse(connection, std::slice::from_ref(wanted))).await);
            }
            outcomes
        }
    }
}

async fn together(
    connection: &mut PgConnection,
    matches: &[Match],
) -> sqlx::Result<Vec<Result<Outcome, MatchError>>> {
    let mut done: Vec<_> = matches.iter().map(|_| None).collect();
    loop {
        let open: Vec<_> = done.iter_mut().zip(matches).filter(|(done, _)| done.is_none()).collect();
        if open.is_empty() {
            return Ok(done.into_iter().flatten().collect());
        }
        let wanted: Vec<_> = open.iter().map(|(_, wanted)| *wanted).collect();
        let verdicts = statement::execute(connection, &wanted, Patience::Long).await?;
        for ((done, _), verdict) in open.into_iter().zip(verdicts) {
            if let Verdict::Done(result) = verdict {
                *done = Some(result);
            }
        }
    }
}
