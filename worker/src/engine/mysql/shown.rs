//! A table as MariaDB writes it down (`SHOW CREATE TABLE`), read to the very texts that its views have of columns, indexes and
//! foreign keys. Pure.
//!
//! Only what is plain is read: where there is anything that is not known here, nothing is told, and the views are asked.

mod reader;

use tenantry_shared::site::Row;

use self::reader::{Reader, Sort, parts};

/// What is known of a table besides.
pub(super) struct Table<'a> {
    pub(super) name: &'a str,
    pub(super) collation: &'a str,
    /// Whether an index of which nothing else is written is a tree.
    pub(super) has_plain_indexes: bool,
}

/// A table's columns (what it is, table, name, definition and place), its indexes and foreign keys, and whether there are checks.
/// None: not all of it is plain.
pub(super) fn shown(table: &Table<'_>, text: &str) -> Option<Vec<Row>> {
    let tokens = reader::lexed(text)?;
    let mut reader = Reader { text, tokens: &tokens };
    let begins = reader.words(&["CREATE", "TABLE"]) && reader.name()? == table.name;
    let inner = reader.bracketed().filter(|_| begins)?;
    let (mut rows, mut place) = (Vec::new(), 0_u32);
    for part in parts(inner, text) {
        let mut part = Reader { text, tokens: part };
        if part.tokens.first()?.sort == Sort::Name {
            place += 1;
            rows.extend(column(&mut part, table, place)?);
        } else {
            rows.push(other(&mut part, table)?);
        }
        if !part.tokens.is_empty() {
            return None;
        }
    }
    Some(rows)
}

/// A column, and what tells that it has a check.
fn column(part: &mut Reader<'_, '_>, table: &Table<'_>, place: u32) -> Option<Vec<Row>> {
    let name = part.name()?;
    let (kind, is_text) = part.kind()?;
    let (mut collate, mut said) = (table.collation, [const { None }; 3]);
    let mut checks = false;
    while !part.tokens.is_empty() {
        if part.words(&["CHARACTER", "SET"]) {
            let _ = part.word()?;
            collate = part.words(&["COLLATE"]).then(|| part.word())??;
        } else if part.words(&["COLLATE"]) {
            collate = part.word()?;
        } else if part.words(&["NOT", "NULL"]) {
            said[0] = Some("not null".to_owned());
        } else if part.words(&["DEFAULT"]) {
            said[1] = Some(format!("default {}", part.value()?));
        } else if part.words(&["ON", "UPDATE"]) {
            said[2] = Some(format!("on update {}", part.value()?));
        } else if part.words(&["AUTO_INCREMENT"]) {
            said[2] = Some("auto_increment".to_owned());
        } else if part.words(&["COMMENT"]) {
            part.next(Sort::Text)?;
        } else if part.words(&["CHECK"]) {
            let _ = part.bracketed()?;
            checks = true;
        } else if !part.words(&["NULL"]) {
            return None;
        }
    }
    let collate = (is_text && !collate.is_empty()).then(|| format!("collate {collate}"));
    if is_text && collate.is_none() {
        return None;
    }
    let definition: Vec<String> =
        [Some(kind.to_owned()), collate].into_iter().chain(said).flatten().collect();
    let column = row(&["column", table.name, &name, &definition.join(" "), &place.to_string()]);
    Some([Some(column), checks.then(checked)].into_iter().flatten().collect())
}

/// What is no column.
fn other(part: &mut Reader<'_, '_>, table: &Table<'_>) -> Option<Row> {
    if !part.words(&["CONSTRAINT"]) {
        return index(part, table);
    }
    let name = part.name()?;
    if part.words(&["CHECK"]) {
        return part.bracketed().map(|_| checked());
    }
    let foreign = part.words(&["FOREIGN", "KEY"]).then(|| foreign(part))??;
    Some(row(&["constraint", table.name, &name, &foreign]))
}

fn index(part: &mut Reader<'_, '_>, table: &Table<'_>) -> Option<Row> {
    let is_primary = part.words(&["PRIMARY"]);
    let unique = if is_primary || part.words(&["UNIQUE"]) { "unique " } else { "" };
    let kind = if part.words(&["FULLTEXT"]) { "fulltext" } else { "btree" };
    let is_key = part.words(&["KEY"]) && table.has_plain_indexes;
    let name = if is_primary { "PRIMARY".to_owned() } else { part.name()? };
    let (text, inner) = (part.text, part.bracketed().filter(|_| is_key)?);
    let columns = parts(inner, text).into_iter().map(|tokens| Reader { text, tokens }.part_of_index());
    let columns = columns.collect::<Option<Vec<_>>>()?.join(", ");
    let _ = part.words(&["USING", "BTREE"]);
    let _ = part.words(&["COMMENT"]) && part.next(Sort::Text).is_some();
    let what = if is_primary { "constraint" } else { "index" };
    Some(row(&[what, table.name, &name, &format!("{unique}{kind} ({columns})")]))
}

fn foreign(part: &mut Reader<'_, '_>) -> Option<String> {
    let columns = part.names()?;
    let mut of = part.words(&["REFERENCES"]).then(|| part.plain())??;
    if part.mark('.') {
        of = format!("{of}.{}", part.plain()?);
    }
    let there = part.names()?;
    let on_delete = part.action(&["ON", "DELETE"])?;
    let on_update = part.action(&["ON", "UPDATE"])?;
    let whole = part.tokens.is_empty();
    let text = format!(
        "foreign key ({columns}) references {of} ({there}) on update {on_update} on delete {on_delete}"
    );
    whole.then_some(text)
}

fn checked() -> Row {
    row(&["there", "CHECK"])
}

fn row(texts: &[&str]) -> Row {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table<'_> = Table { name: "t", collation: "latin1_swedish_ci", has_plain_indexes: true };

    /// What is told of a table with these lines, each row in one text.
    fn told(lines: &str) -> Option<Vec<String>> {
        let text = format!("CREATE TABLE `t` (\n{lines}\n) ENGINE=InnoDB COMMENT='a) (b'");
        let rows = shown(&TABLE, &text)?;
        Some(rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join("|")).collect())
    }

    #[test]
    fn columns_are_told_as_the_views_tell_them() {
        let lines = r"  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `a``b, c` varchar(200) NOT NULL DEFAULT 'it''s, \'x\'' COMMENT 'who, NOT NULL',
  `mail` char(3) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL,
  `kind` enum('a','b,c') DEFAULT 'a',
  `price` decimal(10,2) unsigned zerofill NOT NULL DEFAULT 00000000.50,
  `seen` timestamp(3) NULL DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  PRIMARY KEY (`id`),
  UNIQUE KEY `kind` (`kind`,`a``b, c`(10) DESC) USING BTREE COMMENT 'CONSTRAINT',
  KEY `seen` (`seen`),
  FULLTEXT KEY `words` (`mail`)";
        let told = told(lines).expect("plain");
        assert_eq!(
            told,
            [
                "column|t|id|bigint(20) unsigned not null auto_increment|1",
                r"column|t|a`b, c|varchar(200) collate latin1_swedish_ci not null default 'it''s, \'x\''|2",
                "column|t|mail|char(3) collate utf8mb4_bin default NULL|3",
                "column|t|kind|enum('a','b,c') collate latin1_swedish_ci default 'a'|4",
                "column|t|price|decimal(10,2) unsigned zerofill not null default 00000000.50|5",
                "column|t|seen|timestamp(3) default current_timestamp(3) on update current_timestamp(3)|6",
                "constraint|t|PRIMARY|unique btree (id)",
                "index|t|kind|unique btree (kind, a`b, c(10) desc)",
                "index|t|seen|btree (seen)",
                "index|t|words|fulltext (mail)",
            ]
        );
    }

    #[test]
    fn foreign_keys_and_checks_are_told() {
        let lines = "  `a` int(11) DEFAULT NULL CHECK (`a` > 0 and `a` <> ')'),
  KEY `f` (`a`),
  CONSTRAINT `f` FOREIGN KEY (`a`, `b`) REFERENCES `o` (`x`, `y`) ON DELETE SET NULL ON UPDATE NO ACTION,
  CONSTRAINT `g` FOREIGN KEY (`a`) REFERENCES `other`.`o` (`x`),
  CONSTRAINT `c` CHECK (`a` < 9)";
        assert_eq!(
            told(lines).expect("plain"),
            [
                "column|t|a|int(11) default NULL|1",
                "there|CHECK",
                "index|t|f|btree (a)",
                "constraint|t|f|foreign key (a, b) references o (x, y) on update NO ACTION on delete SET NULL",
                "constraint|t|g|foreign key (a) references other.o (x) on update RESTRICT on delete RESTRICT",
                "there|CHECK",
            ]
        );
    }

    #[test]
    fn nothing_is_told_of_what_is_not_plain() {
        for lines in [
            "`a` int(11) GENERATED ALWAYS AS (`b` * 2) VIRTUAL",
            "`a` int(11) INVISIBLE DEFAULT 3",
            "`a` int(11) DEFAULT 1 WITHOUT SYSTEM VERSIONING",
            "`a` int(11) DEFAULT (`b` + 1)",
            "`a` point NOT NULL",
            "`a` varchar(10) CHARACTER SET utf8mb4 DEFAULT NULL",
            "`a` varchar(10) /*!100301 COMPRESSED*/ DEFAULT NULL",
            "`a` int(11) DEFAULT NULL `key`='value'",
            "`a` int(11), PERIOD FOR SYSTEM_TIME (`f`, `t`)",
            "`a` int(11), CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `o-o` (`x`)",
            "`a` int(11), CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `o` (`x`) MATCH FULL",
            "`a` int(11), KEY `a` (`a`) USING HASH",
            "`a` int(11), KEY `a` (`a`) IGNORED",
            "`a` int(11), SPATIAL KEY `a` (`a`)",
            "\"a\" int(11)",
            "a int(11)",
            "`a` int(11) COMMENT 'no end",
            "`a` int(11",
        ] {
            assert_eq!(told(lines), None, "{lines}");
        }
        for text in ["CREATE TEMPORARY TABLE `t` (`a` int(11))", "CREATE TABLE `u` (`a` int(11))", ""] {
            assert_eq!(shown(&TABLE, text), None, "{text}");
        }
        let in_memory = Table { has_plain_indexes: false, ..TABLE };
        assert_eq!(shown(&in_memory, "CREATE TABLE `t` (`a` int(11), KEY `a` (`a`))"), None);
    }
}
