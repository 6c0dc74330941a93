//! Kills, cuts and starves the real program on real servers, and looks whether anything was lost or happened twice.
#![allow(unreachable_pub)]

pub mod cuts;
pub mod damage;
pub mod disk;
pub mod history;
pub mod inner;
pub mod kinds;
pub mod lab;
pub mod matrix;
pub mod oracle;
pub mod power;
pub mod proxy;
pub mod races;
pub mod random;
pub mod table;
pub mod theory;
pub mod twice;
pub mod wire;
