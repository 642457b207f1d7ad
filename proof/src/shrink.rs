//! The shortest history that still cannot be explained.

use crate::model::{Effect, Kind, Op};
use crate::search::{Failure, check};

/// Leaves out what does not matter, until leaving out any one more would explain the rest.
///
/// Leaving out a read demands less. Leaving out a match would demand more, as somebody may have read its notice: instead it
/// may have taken effect in its time or not, so that what is left is wrong whatever the others did.
pub fn shortest(mut ops: Vec<Op>) -> Vec<Op> {
    let Err(Failure::NoOrder(failed)) = check(&ops) else { return ops };
    let end = ops[failed].end;
    ops.retain(|op| op.start <= end);
    ops.sort_by_key(|op| op.start);
    let mut kept = vec![true; ops.len()];
    let is_read = |op: &Op| matches!(op.kind, Kind::Read(_));
    let (reads, writes): (Vec<usize>, Vec<usize>) = (0..ops.len()).partition(|index| is_read(&ops[*index]));
    let mut before = ops.len() + 1;
    loop {
        leave_out(&ops, &mut kept, &reads);
        leave_out(&ops, &mut kept, &writes);
        let now = kept.iter().filter(|kept| **kept).count();
        if now == before {
            break;
        }
        before = now;
    }
    ops.into_iter().zip(kept).filter_map(|(op, kept)| kept.then_some(op)).collect()
}

/// Half of the candidates at a time, then a quarter and so on.
fn leave_out(ops: &[Op], kept: &mut Vec<bool>, candidates: &[usize]) {
    let mut size = candidates.len().div_ceil(2);
    while size > 0 {
        for chunk in candidates.chunks(size) {
            if chunk.iter().all(|index| !kept[*index]) {
                continue;
            }
            let mut fewer = kept.clone();
            for index in chunk {
                fewer[*index] = false;
            }
            if matches!(check(&relaxed(ops, &fewer)), Err(Failure::NoOrder(_))) {
                *kept = fewer;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
}

/// What is kept; of the rest each write takes effect in its time or not.
fn relaxed(ops: &[Op], kept: &[bool]) -> Vec<Op> {
    let relax = |(op, kept): (&Op, &bool)| match op.kind {
        _ if *kept => Some(*op),
        Kind::Read(_) => None,
        _ => Some(Op { effect: Effect::Perhaps, ..*op }),
    };
    ops.iter().zip(kept).filter_map(relax).collect()
}
