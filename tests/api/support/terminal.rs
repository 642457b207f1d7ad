//! A terminal with somebody at it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, ExitStatus};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Of the terminal, in characters.
pub const WIDTH: usize = 80;

/// Runs a subcommand on a terminal where `typed` is typed, and returns what stood on it at the end.
pub fn run_on_terminal(mut command: Command, typed: &str) -> (ExitStatus, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize { ws_row: 24, ws_col: WIDTH as u16, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let program_side =
        || File::from(rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
    command.stdin(program_side()).stdout(program_side()).stderr(program_side());
    let mut child = command.spawn().unwrap();
    // Ours, and the command's copies.
    drop(command);
    let mut terminal = File::from(terminal);
    terminal.write_all(typed.as_bytes()).unwrap();
    let mut screen = Vec::new();
    // Ends with an error once nobody has the other side.
    let _ = terminal.read_to_end(&mut screen);
    (child.wait().unwrap(), String::from_utf8(screen).unwrap())
}
