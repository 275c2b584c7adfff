//! Who a container runs as: ids and names from the pod and the image, looked up in the image's own user data base.

use crate::spec::User;
use ironclad_cri::SecurityContext;

/// The ids of a container. `passwd` and `group` are the texts of the image's files.
pub(crate) fn resolve(security: &SecurityContext, image_user: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, group_name) = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => (uid.to_string(), None),
        (None, "") => match image_user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group)),
            None => (image_user.to_owned(), None),
        },
        (None, name) => (name.to_owned(), None),
    };
    let user = if user.is_empty() { "0" } else { user.as_str() };
    let entry = entries(passwd).find(|f| f.first() == Some(&user) || f.get(2) == Some(&user));
    let number = |text: Option<&&str>| text.and_then(|t| t.parse::<u32>().ok());
    let (uid, mut gid) = match (&entry, user.parse::<u32>()) {
        (Some(fields), _) => (
            number(fields.get(2)).ok_or_else(|| format!("bad entry of user {user} in /etc/passwd"))?,
            number(fields.get(3)).unwrap_or(0),
        ),
        (None, Ok(uid)) => (uid, 0),
        (None, Err(_)) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    if let Some(name) = group_name {
        let found = entries(group).find(|f| f.first() == Some(&name)).and_then(|f| number(f.get(2)));
        gid = match (found, name.parse()) {
            (Some(gid), _) | (None, Ok(gid)) => gid,
            (None, Err(_)) => return Err(format!("unable to find group {name}: no matching entries in group file")),
        };
    }
    if let Some(given) = security.run_as_group {
        gid = u32::try_from(given).map_err(|_| format!("invalid group id {given}"))?;
    }
    let mut additional_gids = Vec::new();
    for given in &security.supplemental_groups {
        additional_gids.push(u32::try_from(*given).map_err(|_| format!("invalid group id {given}"))?);
    }
    if let (false, Some(name)) = (security.supplemental_groups_strict, entry.as_ref().and_then(|f| f.first())) {
        let member = |f: &Vec<&str>| f.get(3).is_some_and(|list| list.split(',').any(|m| m == *name));
        additional_gids.extend(entries(group).filter(member).filter_map(|f| number(f.get(2))));
    }
    if !additional_gids.contains(&gid) {
        additional_gids.insert(0, gid);
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(User { uid, gid, additional_gids })
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|l| l.trim_end().split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nextra:x:2000:app,other\nwww:x:33:\n";

    fn ids(
        user: Option<i64>,
        group: Option<i64>,
        supplemental: &[i64],
        strict: bool,
        image: &str,
    ) -> (u32, u32, Vec<u32>) {
        let security = SecurityContext {
            run_as_user: user,
            run_as_group: group,
            supplemental_groups: supplemental.to_vec(),
            supplemental_groups_strict: strict,
            ..SecurityContext::default()
        };
        let user = resolve(&security, image, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.additional_gids)
    }

    #[test]
    fn ids_and_names_come_from_pod_then_image() {
        assert_eq!(ids(None, None, &[], false, ""), (0, 0, vec![0]));
        assert_eq!(ids(None, None, &[], false, "app"), (1000, 1001, vec![1001, 2000]));
        assert_eq!(ids(None, None, &[7], true, "app"), (1000, 1001, vec![7, 1001]));
        assert_eq!(ids(None, None, &[], false, "app:www"), (1000, 33, vec![33, 2000]));
        assert_eq!(ids(Some(1000), Some(5), &[], false, "root"), (1000, 5, vec![5, 2000]));
        assert_eq!(ids(Some(4242), None, &[9], false, "app"), (4242, 0, vec![0, 9]));
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = resolve(&SecurityContext::default(), "ghost", PASSWD, GROUP).unwrap_err();
        assert!(error.contains("unable to find user ghost"), "{error}");
    }
}
