//! Whether a statement stands in the transaction that it is meant for.

/// True behind a fence, which has locked a row, so that its transaction has a number.
///
/// Much is sent without waiting for the answer to what is in front of it. A cancel request may meet the server between two
/// messages, and a `BEGIN` that was refused for it leaves everything behind it outside of any transaction: each statement would
/// take effect by itself, fenced by nothing, while the answer to the first one says that there was no effect. So whatever is sent
/// behind a `BEGIN` that was not answered asks this first, and in such a statement nothing that could have given the transaction
/// a number comes before the question. A statement of the author's cannot ask it by itself: a trigger for each statement fires
/// before any condition, and an aggregate has a row where there is none. Scripts ask it in a statement in front, in the same
/// message; a piece, whose parameters do not go into such a message, waits for its `BEGIN`.
pub const INSIDE: &str = "pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL";
