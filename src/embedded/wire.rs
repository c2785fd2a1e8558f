//! Just enough of Postgres' protocol, version 3, to learn whether a server is ready and to give it one order
//! over its socket, without a password: this module starts before the service has its asynchronous driver.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Longer than creating a database takes on a slow disk.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Far above any message of the few that can come; a bound against reading nonsense as a length.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Why there is no answer, or which one.
#[derive(Debug)]
pub(super) enum WireError {
    /// Nobody there, or not listening, or gone in the middle.
    Io(io::Error),
    /// The server says no.
    Refused { sqlstate: String, message: String },
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
}

impl Connection {
    pub(super) fn open(socket: &Path, user: &str, database: &str) -> Result<Self, WireError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut connection = Self { stream };
        let body = format!("user\0{user}\0database\0{database}\0\0");
        let mut startup = (8 + body.len() as u32).to_be_bytes().to_vec();
        startup.extend(0x0003_0000_u32.to_be_bytes());
        startup.extend(body.as_bytes());
        connection.stream.write_all(&startup)?;
        connection.until_ready()?;
        Ok(connection)
    }

    pub(super) fn execute(&mut self, statement: &str) -> Result<(), WireError> {
        let mut query = vec![b'Q'];
        query.extend((5 + statement.len() as u32).to_be_bytes());
        query.extend(statement.as_bytes());
        query.push(0);
        self.stream.write_all(&query)?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<(), WireError> {
        loop {
            match self.receive()? {
                (b'Z', _) => return Ok(()),
                (b'E', body) => return Err(refusal(&body)),
                (b'R', body) if body != [0; 4] => return Err(nonsense("a password is asked for").into()),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = (u32::from_be_bytes(length) as usize).wrapping_sub(4);
        if length > MAX_MESSAGE_BYTES {
            return Err(nonsense("a message of impossible length"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Farewell, so that the server does not log a lost client; when it fails there is nobody to tell.
        let _ = self.stream.write_all(&[b'X', 0, 0, 0, 4]);
    }
}

fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Fields are a letter, a text and a zero each.
fn refusal(body: &[u8]) -> WireError {
    let field = |wanted: u8| {
        let found = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(&[wanted]));
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    WireError::Refused { sqlstate: field(b'C'), message: field(b'M') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_by_its_field_letters() {
        let body = b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"rollcall\" does not exist\0Fpostinit.c\0\0";
        let WireError::Refused { sqlstate, message } = refusal(body) else { panic!("not a refusal") };
        assert_eq!((&*sqlstate, &*message), ("3D000", "database \"rollcall\" does not exist"));
    }

    #[test]
    fn an_impossible_length_is_an_error_and_no_allocation() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(&[b'Z', 0, 0, 0, 0]).expect("room in the buffer");
        let error = Connection { stream: ours }.receive().expect_err("length 0 is less than its own field");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
