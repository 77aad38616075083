//! `COPY … TO STDOUT`: released rows as lines of text or CSV, or in binary.
//!
//! In: rows and a [`CopyFormat`]. Out: CopyOutResponse, a CopyData a line, CopyDone. As Postgres' `copyto.c` writes them.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use tokio_util::sync::CancellationToken;

use super::encode::{self, Column};
use super::errors::{Flow, refuse};
use super::socket::Socket;
use super::types::column_type;
use crate::error::SqlState;
use crate::session::CopyFormat;

pub(super) async fn send(
    socket: &mut Socket,
    schema: &Schema,
    batches: &[RecordBatch],
    format: &CopyFormat,
    cancel: &CancellationToken,
) -> Flow {
    // Before the client is told that rows come.
    for field in schema.fields() {
        column_type(field)?;
    }
    let width = schema.fields().len();
    let columns = i16::try_from(width).map_err(|_| too_long())?;
    let code = i16::from(*format == CopyFormat::Binary);
    let response = CopyOutResponse::new(i8::from(*format == CopyFormat::Binary), columns, vec![code; width]);
    socket.send(PgWireBackendMessage::CopyOutResponse(response))?;
    match format {
        CopyFormat::Binary => send_binary(socket, schema, batches, columns, cancel).await?,
        CopyFormat::Lines { csv, header, delimiter, null } => {
            let format = Lines { csv: *csv, header: *header, delimiter: *delimiter, null };
            send_lines(socket, schema, batches, format, cancel).await?;
        }
    }
    socket.send(PgWireBackendMessage::CopyDone(CopyDone::new()))
}

#[derive(Clone, Copy)]
struct Lines<'a> {
    csv: bool,
    header: bool,
    delimiter: u8,
    null: &'a str,
}

/// The signature, flags and an empty extension; then a tuple a row; then a tuple of -1 fields.
async fn send_binary(
    socket: &mut Socket,
    schema: &Schema,
    batches: &[RecordBatch],
    width: i16,
    cancel: &CancellationToken,
) -> Flow {
    const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
    let mut part = BytesMut::from(SIGNATURE);
    part.put_i32(0);
    part.put_i32(0);
    // It goes with the first tuple in one message, as clients expect.
    for batch in batches {
        let columns = encode::columns(schema, batch)?;
        for row in 0..batch.num_rows() {
            part.put_i16(width);
            for column in &columns {
                column.put(row, FieldFormat::Binary, &mut part)?;
            }
            put_data(&mut part, &mut socket.output)?;
            socket.drain(cancel).await?;
        }
    }
    part.put_i16(-1);
    put_data(&mut part, &mut socket.output)
}

async fn send_lines(
    socket: &mut Socket,
    schema: &Schema,
    batches: &[RecordBatch],
    format: Lines<'_>,
    cancel: &CancellationToken,
) -> Flow {
    let width = schema.fields().len();
    let mut line = BytesMut::new();
    if format.header {
        for (position, field) in schema.fields().iter().enumerate() {
            put_cell(position, field.name().as_bytes(), format, width, &mut line);
        }
        put_line(&mut line, &mut socket.output)?;
    }
    let mut cell = BytesMut::new();
    for batch in batches {
        let columns = encode::columns(schema, batch)?;
        for row in 0..batch.num_rows() {
            put_cells(&columns, row, format, &mut cell, &mut line)?;
            put_line(&mut line, &mut socket.output)?;
            socket.drain(cancel).await?;
        }
    }
    Ok(())
}

fn put_cells(columns: &[Column], row: usize, format: Lines<'_>, cell: &mut BytesMut, line: &mut BytesMut) -> Flow {
    for (position, column) in columns.iter().enumerate() {
        if column.is_null(row) {
            put_delimiter(position, format, line);
            line.put_slice(format.null.as_bytes());
        } else {
            cell.clear();
            column.text(row, cell)?;
            put_cell(position, cell, format, columns.len(), line);
        }
    }
    Ok(())
}

fn put_delimiter(position: usize, format: Lines<'_>, line: &mut BytesMut) {
    if position > 0 {
        line.put_u8(format.delimiter);
    }
}

fn put_cell(position: usize, cell: &[u8], format: Lines<'_>, width: usize, line: &mut BytesMut) {
    put_delimiter(position, format, line);
    if format.csv {
        put_csv(cell, format, width, line);
    } else {
        put_text(cell, format.delimiter, line);
    }
}

fn put_text(cell: &[u8], delimiter: u8, line: &mut BytesMut) {
    for byte in cell {
        let escape = match *byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            byte if byte == b'\\' || byte == delimiter => byte,
            byte => {
                line.put_u8(byte);
                continue;
            }
        };
        line.put_slice(&[b'\\', escape]);
    }
}

/// What looks like null is quoted; so is a lone end-of-data mark.
fn put_csv(cell: &[u8], format: Lines<'_>, width: usize, line: &mut BytesMut) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == format.delimiter;
    let quoted = cell == format.null.as_bytes() || (width == 1 && cell == b"\\.") || cell.iter().any(special);
    if !quoted {
        line.put_slice(cell);
        return;
    }
    line.put_u8(b'"');
    for byte in cell {
        if *byte == b'"' {
            line.put_u8(b'"');
        }
        line.put_u8(*byte);
    }
    line.put_u8(b'"');
}

fn put_line(line: &mut BytesMut, out: &mut BytesMut) -> Flow {
    line.put_u8(b'\n');
    put_data(line, out)
}

/// Moves what is gathered into a CopyData.
fn put_data(line: &mut BytesMut, out: &mut BytesMut) -> Flow {
    const COPY_DATA: u8 = b'd';
    let length = i32::try_from(line.len() + 4).map_err(|_| too_long())?;
    out.put_u8(COPY_DATA);
    out.put_i32(length);
    out.put_slice(line);
    line.clear();
    Ok(())
}

fn too_long() -> super::errors::Failure {
    refuse(SqlState::ProgramLimitExceeded, "a row is too long")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use bytes::Buf;

    use super::*;

    async fn copy(format: CopyFormat) -> Vec<u8> {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a\tb"), Some(""), None, Some("x,\"y\"\n\\")]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)]));
        let batch = RecordBatch::try_from_iter([("name", names), ("n", numbers)]).unwrap();
        let (_client, server) = tokio::io::duplex(1024);
        let mut socket = Socket::new(server);
        send(&mut socket, &batch.schema(), std::slice::from_ref(&batch), &format, &CancellationToken::new())
            .await
            .unwrap();
        let mut data = Vec::new();
        let mut out = socket.output.split();
        while out.has_remaining() {
            let kind = out.get_u8();
            let length = out.get_i32() as usize - 4;
            let body = out.split_to(length);
            if kind == b'd' {
                data.extend_from_slice(&body);
            }
        }
        data
    }

    fn lines(csv: bool, header: bool, delimiter: u8, null: &str) -> CopyFormat {
        CopyFormat::Lines { csv, header, delimiter, null: null.to_owned() }
    }

    #[tokio::test]
    async fn text_as_postgres_copies_it() {
        let format = lines(false, false, b'\t', "\\N");
        let expected = "a\\tb\t1\n\t\\N\n\\N\t3\nx,\"y\"\\n\\\\\t4\n";
        assert_eq!(copy(format).await, expected.as_bytes());
    }

    #[tokio::test]
    async fn csv_as_postgres_copies_it() {
        let format = lines(true, true, b',', "");
        let expected = "name,n\na\tb,1\n\"\",\n,3\n\"x,\"\"y\"\"\n\\\",4\n";
        assert_eq!(copy(format).await, expected.as_bytes());
    }

    #[tokio::test]
    async fn what_stands_for_null_is_quoted_where_it_is_a_value() {
        let expected = "\"a\tb\";1\n;-\n-;3\n\"x,\"\"y\"\"\n\\\";4\n";
        let copied = copy(lines(true, false, b';', "-")).await;
        assert_eq!(String::from_utf8(copied).unwrap(), expected.replace("\"a\tb\"", "a\tb"));
    }

    #[tokio::test]
    async fn binary_as_postgres_copies_it() {
        let copied = copy(CopyFormat::Binary).await;
        let mut expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\0\x02\0\0\0\x03a\tb\0\0\0\x04\0\0\0\x01");
        expected.extend(b"\0\x02\0\0\0\0\xff\xff\xff\xff");
        expected.extend(b"\0\x02\xff\xff\xff\xff\0\0\0\x04\0\0\0\x03");
        expected.extend(b"\0\x02\0\0\0\x07x,\"y\"\n\\\0\0\0\x04\0\0\0\x04");
        expected.extend(b"\xff\xff");
        assert_eq!(copied, expected);
    }
}
