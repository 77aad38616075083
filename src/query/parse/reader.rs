//! Reads one statement from left to right.
//!
//! In: the tokens of a statement. Out: words, names, values and query bodies, or a syntax error as Postgres words it, with
//! its position in the query string. Names are folded as Postgres folds them: lower-case unless quoted.

use datafusion::sql::sqlparser::ast::{self, DataType, Query};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::clauses;
use super::complexity::{self, DEPTH};
use super::dialect::BoundedPostgres;
use super::tokens::{self, Slice, position_in};
use crate::error::{Error, Result, SqlState};

/// The one database there is.
pub const DATABASE: &str = "paravent";

pub(super) struct Reader<'a> {
    parser: Parser<'a>,
    slice: &'a Slice<'a>,
    dialect: &'a BoundedPostgres,
}

impl<'a> Reader<'a> {
    pub fn new(slice: &'a Slice<'a>, dialect: &'a BoundedPostgres) -> Self {
        let tokens = slice.pieces.iter().map(|piece| piece.token.clone()).collect();
        Self { parser: parser(dialect, tokens), slice, dialect }
    }

    /// The unquoted word `ahead` tokens from here, in capitals.
    pub fn peek(&self, ahead: usize) -> Option<String> {
        tokens::word(&self.parser.peek_nth_token_ref(ahead).token)
    }

    pub fn is(&self, ahead: usize, token: &Token) -> bool {
        self.parser.peek_nth_token_ref(ahead).token == *token
    }

    pub fn peek_is(&self, token: &Token) -> bool {
        self.is(0, token)
    }

    pub fn at_number(&self) -> bool {
        matches!(self.parser.peek_token_ref().token, Token::Number(..))
    }

    pub fn at_end(&self) -> bool {
        self.peek_is(&Token::EOF)
    }

    pub fn skip(&mut self) {
        self.parser.advance_token();
    }

    /// Takes these words if they all come next.
    pub fn take(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(ahead, word)| self.peek(ahead).as_deref() == Some(word));
        if all {
            words.iter().for_each(|_| self.skip());
        }
        all
    }

    /// Takes the first of these words that comes next.
    pub fn take_one<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().find(|word| self.take(&[**word])).copied()
    }

    pub fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.take(&[*word]) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    pub fn sign(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub fn expect_sign(&mut self, token: &Token) -> Result<()> {
        if self.sign(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub fn end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An identifier.
    pub fn name(&mut self) -> Result<String> {
        let name = match &self.parser.peek_token_ref().token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
            Token::Word(word) if !word.value.is_empty() => word.value.clone(),
            _ => return Err(self.unexpected()),
        };
        self.skip();
        Ok(name)
    }

    /// Comma-separated things.
    pub fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.sign(&Token::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// `( …, … )`
    pub fn parenthesized<T>(&mut self, one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_sign(&Token::LParen)?;
        let all = self.list(one)?;
        self.expect_sign(&Token::RParen)?;
        Ok(all)
    }

    /// The name of a setting or an option: may have dots.
    pub fn dotted_name(&mut self) -> Result<String> {
        let mut name = self.name()?;
        while self.sign(&Token::Period) {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    /// A table of the schema `public`, where all tables are.
    pub fn table(&mut self) -> Result<String> {
        let position = self.position();
        let first = self.name()?;
        if !self.sign(&Token::Period) {
            return Ok(first);
        }
        let second = self.name()?;
        let (schema, table) = match self.sign(&Token::Period) {
            false => (first, second),
            true if first == DATABASE => (second, self.name()?),
            true => {
                return Err(Error::new(SqlState::FeatureNotSupported, "cross-database references are not implemented")
                    .hint(format!("there is one database: {DATABASE}"))
                    .at(position));
            }
        };
        if schema == "public" {
            Ok(table)
        } else {
            Err(Error::new(
                SqlState::UndefinedTable,
                format!("relation \"{schema}.{table}\" is not a table of the schema \"public\""),
            )
            .hint("tables of data are in the schema public")
            .at(position))
        }
    }

    pub fn text(&mut self) -> Result<String> {
        let text = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::UnicodeStringLiteral(text) => {
                text.clone()
            }
            Token::DollarQuotedString(quoted) => quoted.value.clone(),
            _ => return Err(self.unexpected()),
        };
        self.skip();
        Ok(text)
    }

    /// A literal or a word, as the text that Postgres makes of it.
    pub fn value(&mut self) -> Result<String> {
        let sign = if self.sign(&Token::Minus) {
            "-"
        } else {
            self.sign(&Token::Plus);
            ""
        };
        let token = &self.parser.peek_token_ref().token;
        if let Token::Number(number, _) = token {
            let value = format!("{sign}{number}");
            self.skip();
            return Ok(value);
        }
        if !sign.is_empty() {
            return Err(self.unexpected());
        }
        match token {
            Token::Word(_) => self.name(),
            _ => self.text(),
        }
    }

    pub fn unsigned(&mut self) -> Result<u64> {
        let number = match &self.parser.peek_token_ref().token {
            Token::Number(number, false) => number.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected())?;
        self.skip();
        Ok(number)
    }

    pub fn data_type(&mut self) -> Result<DataType> {
        let parsed = self.parser.parse_data_type();
        self.understood(parsed)
    }

    /// A query up to where it ends, with nothing in it but what Postgres has and this server reads.
    pub fn query(&mut self) -> Result<Box<Query>> {
        let parsed = self.parser.parse_query();
        let mut query = self.understood(parsed)?;
        clauses::fetch_as_limit(&mut query);
        clauses::check(&query, self.slice)?;
        Ok(query)
    }

    /// A condition, with nothing in it but what Postgres has and this server reads.
    pub fn expression(&mut self) -> Result<ast::Expr> {
        let parsed = self.parser.parse_expr();
        let expression = self.understood(parsed)?;
        clauses::check_expression(&expression, self.slice)?;
        Ok(expression)
    }

    /// How many characters of the statement lie before the next token.
    fn before(&self) -> usize {
        let start = self.parser.peek_token_ref().span.start;
        position_in(self.slice.text, start).unwrap_or(1).saturating_sub(1)
    }

    /// `( condition )`: its text, and what it is.
    pub fn condition(&mut self) -> Result<(String, ast::Expr)> {
        self.expect_sign(&Token::LParen)?;
        let from = self.before();
        let expression = self.expression()?;
        let text: String = self.slice.text.chars().take(self.before()).skip(from).collect();
        self.expect_sign(&Token::RParen)?;
        Ok((text.trim().to_owned(), expression))
    }

    /// `SELECT columns FROM table`, for the statements that name a table where a query is meant.
    pub fn select_from(&mut self, table: Vec<TokenWithSpan>, columns: &[String]) -> Result<Box<Query>> {
        let quoted = |name: &String| TokenWithSpan::wrap(Token::make_word(name, Some('"')));
        let keyword = |word| TokenWithSpan::wrap(Token::make_word(word, None));
        let mut tokens = vec![keyword("SELECT")];
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                tokens.push(TokenWithSpan::wrap(Token::Comma));
            }
            tokens.push(quoted(column));
        }
        if columns.is_empty() {
            tokens.push(TokenWithSpan::wrap(Token::Mul));
        }
        tokens.push(keyword("FROM"));
        tokens.extend(table);
        let parsed = parser(self.dialect, tokens).parse_query();
        let query = self.understood(parsed)?;
        clauses::check(&query, self.slice)?;
        Ok(query)
    }

    /// The tokens of a table's name, of any schema.
    pub fn table_tokens(&mut self) -> Result<Vec<TokenWithSpan>> {
        let mut taken = vec![self.parser.peek_token()];
        self.name()?;
        while self.peek_is(&Token::Period) {
            taken.push(self.parser.next_token());
            taken.push(self.parser.peek_token());
            self.name()?;
        }
        Ok(taken)
    }

    /// Where the next token begins, in the query string.
    pub fn position(&self) -> Option<usize> {
        let start = self.parser.peek_token_ref().span.start;
        position_in(self.slice.text, start).map(|position| self.slice.offset + position)
    }

    /// The text from the next token on.
    pub fn rest(&self) -> String {
        let start = self.parser.peek_token_ref().span.start;
        let before = position_in(self.slice.text, start).unwrap_or(1).saturating_sub(1);
        self.slice.text.chars().skip(before).collect()
    }

    /// Behind the last character.
    pub fn position_at_end(&self) -> Option<usize> {
        Some(self.slice.offset + self.slice.text.chars().count() + 1)
    }

    /// The next token is not one that can stand here.
    pub fn unexpected(&self) -> Error {
        syntax_error(self.slice, self.parser.peek_token_ref().span.start)
    }

    fn understood<T>(&self, parsed: Result<T, ParserError>) -> Result<T> {
        parsed.map_err(|error| {
            let message = match error {
                ParserError::RecursionLimitExceeded => return complexity::too_deep(),
                ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
            };
            let location = location_of(&message).unwrap_or_else(|| self.parser.peek_token_ref().span.start);
            let error = syntax_error(self.slice, location);
            match expected_in(&message) {
                Some(expected) => error.detail(format!("expected {expected}")),
                None => error,
            }
        })
    }
}

fn parser(dialect: &BoundedPostgres, tokens: Vec<TokenWithSpan>) -> Parser<'_> {
    Parser::new(dialect).with_recursion_limit(DEPTH).with_tokens_with_locations(tokens)
}

/// As Postgres says it. The token is shown, unless it may be a password.
pub(super) fn syntax_error(slice: &Slice<'_>, location: Location) -> Error {
    let found = slice.pieces.iter().position(|piece| piece.token.span.start == location);
    let Some(index) = found else {
        return Error::new(SqlState::SyntaxError, "syntax error at end of input")
            .at(Some(slice.offset + slice.text.chars().count() + 1));
    };
    let piece = &slice.pieces[index];
    let near = if tokens::suspects(&slice.pieces)[index] { "'***'" } else { &slice.text[piece.bytes.clone()] };
    Error::new(SqlState::SyntaxError, format!("syntax error at or near \"{near}\""))
        .at(Some(slice.offset + piece.chars + 1))
}

/// The parser below ends its messages in `at Line: 1, Column: 8`.
fn location_of(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? })
}

fn expected_in(message: &str) -> Option<&str> {
    let (expected, _) = message.strip_prefix("Expected: ")?.split_once(", found")?;
    Some(expected)
}
