//! Row 3: the line breaks at every message of a run, to the server and from it, for every kind of step; and after every
//! byte of a transactional one.
//!
//! Places inside one message share a case. Towards the server, because a server acts on whole messages only: whatever part
//! of one it has got, it has done what the messages before it asked for, and drops the part when the line ends. Towards the
//! program, because the driver decodes whole messages only, and what is left over when the line ends is nobody's. Each
//! message is therefore cut in three of four ways (nothing of it arrives, its first byte, half of it, all but its last
//! byte), in turn, once for each thing that may follow; on the way back, where a run cannot be taken back, in two of the
//! four. That nothing hides inside messages is what the row with every byte of a whole kind shows, and a sample of all
//! bytes. What every kind has in common, from connecting to holding the lock and again once all steps are recorded in the
//! journal, is cut for the first one only.

use super::inner::{Stage, THEN, Then};
use super::kinds::KINDS;
use super::lab::Lab;
use super::matrix::Way;
use super::proxy::{Harm, Place, Share, Side};
use super::table::Table;

/// Places that share a copy of the database.
const BATCH: usize = 100;
const SHARES: [Share; 4] = [Share::Nothing, Share::FirstByte, Share::Half, Share::AllButLastByte];
const SIDES: [Side; 2] = [Side::Up, Side::Down];

/// How far a kind's runs go, the longer of the two ways, in each direction: where the lock was held, where all steps were
/// recorded, and the end.
struct Measured {
    bytes: [[u64; 3]; 2],
    messages: [[u64; 3]; 2],
}

/// What a kind has in common with all others is cut for the first one only.
fn own(kind: usize, [locked, recorded, end]: [u64; 3]) -> std::ops::Range<u64> {
    if kind == 0 { 0..end } else { locked..recorded }
}

/// Places of one kind and direction that are cut one after the other, and what follows each.
struct Batch {
    kind: usize,
    side: Side,
    places: Vec<(Place, Then)>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn measure(lab: &Lab, kind: usize) -> Measured {
    let (runtime, db) = (runtime(), lab.copy("base"));
    let measured = runtime.block_on(async {
        let stage = Stage::new(&db, &KINDS[kind]).await?;
        let forward = stage.extents(Way::Forward).await?;
        let back = stage.extents(Way::Back).await?;
        Ok::<_, String>([forward, back])
    });
    let [forward, back] = measured.unwrap_or_else(|error| panic!("{}: {error}", KINDS[kind].name));
    let both = |side: usize, of: fn(&super::inner::Extent) -> [u64; 2]| {
        let ways = |place: usize| [of(&forward[place])[side], of(&back[place])[side]];
        let [[locked, locked_back], [recorded, recorded_back], [end, end_back]] = [0, 1, 2].map(ways);
        [locked.min(locked_back), recorded.max(recorded_back), end.max(end_back)]
    };
    let measured = Measured {
        bytes: [0, 1].map(|side| both(side, |extent| extent.bytes)),
        messages: [0, 1].map(|side| both(side, |extent| extent.messages)),
    };
    let Measured { bytes: [up, down], messages: [to, from] } = &measured;
    let name = KINDS[kind].name;
    println!(
        "3 {name}: lock, record and end at bytes {up:?} to the server, {down:?} from it; messages {to:?}, {from:?}"
    );
    measured
}

fn batches(kind: usize, side: Side, places: &[(Place, Then)]) -> impl Iterator<Item = Batch> {
    places.chunks(BATCH).map(move |places| Batch { kind, side, places: places.to_vec() })
}

/// Every `stride`-th message.
fn messages(kind: usize, measured: &Measured, side: Side, stride: usize) -> Vec<Batch> {
    let mut places = Vec::new();
    for message in own(kind, measured.messages[side as usize]).skip(kind * 7 % stride).step_by(stride) {
        for (turn, then) in (0..).zip(THEN) {
            let share = SHARES[usize::try_from((message + turn) % 4).unwrap_or_default()];
            places.push((Place::Message(message, share), then));
        }
    }
    batches(kind, side, &places).collect()
}

/// Every `stride`-th of these bytes; what follows takes turns.
fn bytes(kind: usize, side: Side, range: std::ops::Range<u64>, stride: usize, then: &[Then]) -> Vec<Batch> {
    let places = range.skip(kind * 7 % stride).step_by(stride);
    let places: Vec<_> = places.zip(then.iter().cycle()).map(|(byte, then)| (Place::Byte(byte), *then)).collect();
    batches(kind, side, &places).collect()
}

fn work(table: &Table, name: &str, lab: &Lab, batch: &Batch) {
    let kind = &KINDS[batch.kind];
    let mut places = batch.places.iter();
    let mut going = true;
    while going {
        going = false;
        let runtime = runtime();
        let db = lab.copy("base");
        let stage = match runtime.block_on(Stage::new(&db, kind)) {
            Ok(stage) => stage,
            Err(error) => return table.count(name, Err(format!("{}: {error}", kind.name))),
        };
        for (place, then) in places.by_ref() {
            match runtime.block_on(stage.case(Some((batch.side, *place, Harm::Cut)), *then)) {
                Ok(broke) => table.counted(name, broke, Ok(())),
                Err(error) => {
                    let case = format!("{}: cut at {place:?} {:?}, then {then:?}", kind.name, batch.side);
                    table.count(name, Err(format!("{case}: {error}")));
                    // The next one must not suffer for it.
                    going = true;
                    break;
                }
            }
        }
    }
}

/// The strides of the three rows.
pub struct Strides {
    /// Messages of every kind.
    pub messages: usize,
    /// Bytes of a transactional step, from the lock to the end.
    pub one_kind: usize,
    /// Bytes of every kind.
    pub bytes: usize,
}

/// Cuts. Those of the last row are a sample of what the other two rows argue away, or all of it.
pub fn cuts(table: &Table, strides: &Strides) {
    let measured: Vec<Measured> = {
        let lab = Lab::start();
        (0..KINDS.len()).map(|kind| measure(&lab, kind)).collect()
    };
    let each = |side: Side, of: &dyn Fn(usize, &Measured, Side) -> Vec<Batch>| -> Vec<Batch> {
        measured.iter().enumerate().flat_map(|(kind, measured)| of(kind, measured, side)).collect()
    };
    let mut rows = Vec::new();
    for (side, name) in
        SIDES.into_iter().zip(["3 cut at every message to the server", "3 cut at every message from the server"])
    {
        table.strided(name, strides.messages, "WIRE_STRIDE");
        rows.push((name, each(side, &|kind, measured, side| messages(kind, measured, side, strides.messages))));
    }
    let one = "3 cut after every byte of a transactional step";
    table.strided(one, strides.one_kind, "BYTE_STRIDE");
    let step = |side: Side| {
        let [locked, _, end] = measured[0].bytes[side as usize];
        // What takes a run back is another process that resumes it, too: the rows above have it for each message.
        bytes(0, side, locked..end, strides.one_kind, &[Then::Reconnect, Then::Resume])
    };
    rows.push((one, SIDES.into_iter().flat_map(step).collect()));
    let any = "3 cut after a byte of any step, or of what is before it";
    table.strided(any, strides.bytes, "EVERY_BYTE_STRIDE");
    let some = |kind: usize, measured: &Measured, side: Side| {
        bytes(kind, side, own(kind, measured.bytes[side as usize]), strides.bytes, &THEN)
    };
    rows.push((any, SIDES.into_iter().flat_map(|side| each(side, &some)).collect()));
    for (name, batches) in rows {
        table.many(&batches, |_| name, Lab::start, |lab, batch| work(table, name, lab, batch));
    }
}
