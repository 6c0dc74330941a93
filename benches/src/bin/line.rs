//! `line ADDRESS ROUND_TRIP_MS`: a line with a delay to a server on this machine. Prints its port, lives until its standard
//! input ends, and prints then how many round trips it carried.

use std::io::Read as _;
use std::time::Duration;

use migengine_benches::proxy::{Trips, start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, milliseconds] = arguments.as_slice() else { return Err("line ADDRESS ROUND_TRIP_MS".into()) };
    let round_trip = Duration::from_secs_f64(milliseconds.parse::<f64>()? / 1000.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let trips = Trips::default();
    println!("{}", runtime.block_on(start(address.parse()?, round_trip, trips.clone()))?.port());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", trips.count());
    Ok(())
}
