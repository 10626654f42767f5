//! What a statement gives, whichever database it comes from.

use sqlx::{
    Error, Row as _, ValueRef as _,
    any::{AnyRow, AnyTypeInfoKind},
};

/// A row of numbers and texts.
#[derive(Debug)]
pub(crate) struct Row(Vec<Cell>);

#[derive(Debug)]
pub(crate) enum Cell {
    Null,
    Number(i64),
    Text(String),
    /// What no statement of ours may give.
    Other,
}

impl Cell {
    /// What it is. What is in it is for nobody who only hears of an error.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Other => "what is neither number nor text",
        }
    }
}

/// What can be read of a row.
pub(crate) trait Read: Sized {
    /// None: it is something else.
    fn read(cell: &Cell) -> Option<Self>;
}

impl Read for i64 {
    fn read(cell: &Cell) -> Option<Self> {
        if let Cell::Number(number) = cell { Some(*number) } else { None }
    }
}

impl Read for String {
    fn read(cell: &Cell) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text.clone()) } else { None }
    }
}

impl<T: Read> Read for Option<T> {
    fn read(cell: &Cell) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::read(cell).map(Some) }
    }
}

impl Row {
    pub(super) fn new(cells: Vec<Cell>) -> Self {
        Self(cells)
    }

    /// The value of a column, counted from 0.
    pub(crate) fn try_get<T: Read>(&self, at: usize) -> Result<T, Error> {
        let none = || Error::ColumnIndexOutOfBounds { index: at, len: self.0.len() };
        let cell = self.0.get(at).ok_or_else(none)?;
        let wrong = || {
            let source = format!("{} is no {}", cell.kind(), std::any::type_name::<T>());
            Error::ColumnDecode { index: at.to_string(), source: source.into() }
        };
        T::read(cell).ok_or_else(wrong)
    }
}

impl TryFrom<&AnyRow> for Row {
    type Error = Error;

    fn try_from(row: &AnyRow) -> Result<Self, Error> {
        let cell = |at: usize| {
            let value = row.try_get_raw(at)?;
            if value.is_null() {
                return Ok(Cell::Null);
            }
            let kind = value.type_info().kind();
            match kind {
                AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
                    Ok(Cell::Number(row.try_get(at)?))
                }
                AnyTypeInfoKind::Text => Ok(Cell::Text(row.try_get(at)?)),
                _ => Ok(Cell::Other),
            }
        };
        Ok(Self((0..row.len()).map(cell).collect::<Result<_, Error>>()?))
    }
}
