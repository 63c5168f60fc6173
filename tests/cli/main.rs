//! The program as its users run it: arguments go in; files, text and exit codes come out.

mod bad_data;
mod bad_inputs;
mod bad_models;
mod bad_options;
mod bench;
mod devices;
mod doctor;
mod evaluation;
mod faults;
mod formats;
mod hub;
mod inspect;
mod kept;
mod lora;
mod losses;
mod models;
mod odd_worlds;
mod output;
mod plan;
mod profile;
mod repeat;
mod resume;
mod sandbox;
mod train;
mod trained;
