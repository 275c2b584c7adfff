//! Tokens from a file: lines of `token,user,uid` and optionally `"group1,group2"`.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use ironclad_api::{ApiError, UserInfo};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The authenticator; it keeps digests only, which also makes the look-up tell nothing by its time.
pub struct StaticTokens(HashMap<[u8; 32], UserInfo>);

/// The fields of a line of comma-separated values, quotes undone.
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field).trim().to_owned()),
            other => field.push(other),
        }
    }
    out.push(field.trim().to_owned());
    out
}

impl StaticTokens {
    /// From the file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
            let fields = fields(line);
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(format!(
                    "token file: expected at least 3 columns (token, user name, user uid), found {} in line {}",
                    fields.len(),
                    at + 1
                ));
            };
            if token.is_empty() {
                continue;
            }
            let groups: Vec<&str> =
                rest.first().map_or(Vec::new(), |g| g.split(',').filter(|g| !g.is_empty()).collect());
            let mut user = UserInfo::new(name, &groups);
            user.uid = uid.clone();
            users.insert(Sha256::digest(token).into(), user);
        }
        Ok(Self(users))
    }
}

#[async_trait]
impl Authenticator for StaticTokens {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, _: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        Ok(self.0.get(&digest).map(|user| Authenticated { user: user.clone(), audiences: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_users_with_their_groups() {
        let tokens = StaticTokens::parse("abc,jane,7,\"devs,ops\"\n# nobody\n\nxyz,bob,8\n").unwrap();
        let of = |token: &str| tokens.0.get::<[u8; 32]>(&Sha256::digest(token).into()).cloned();
        let jane = of("abc").unwrap();
        assert_eq!((jane.uid.as_str(), jane.groups.len()), ("7", 3));
        assert_eq!(of("xyz").unwrap().groups, ["system:authenticated"]);
        assert_eq!(of(""), None);
        assert!(StaticTokens::parse("abc,jane").is_err());
    }
}
