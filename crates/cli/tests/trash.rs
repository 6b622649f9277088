//! Taking things out of the trash: the last one of a name, and each by one person only.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::process::Stdio;
use support::Home;

#[test]
fn of_several_of_one_name_the_last_removed_is_restored_however_fast_they_went() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    const TIMES: u32 = 6;
    for number in 1..=TIMES {
        home.weald(&["fork", "w", "same"]).ok();
        home.run(&home.at("same"), &format!("echo {number} > number")).ok();
        home.weald(&["remove", "same"]).ok();
    }
    home.weald(&["daemon", "restart"]).ok();
    for number in (1..=TIMES).rev() {
        let name = format!("back-{number}");
        home.weald(&["trash", "restore", "same", &name]).ok();
        assert_eq!(std::fs::read_to_string(home.at(&name).join("number")).unwrap(), format!("{number}\n"));
        if number == 4 {
            home.weald(&["remove", &name]).ok();
            home.weald(&["trash", "restore", &name]).ok();
        }
    }
    home.weald(&["trash", "restore", "same"]).fault("W0009");
    for name in ["back-1", "back-2"] {
        home.weald(&["rename", name, "same"]).ok();
        home.weald(&["remove", "same"]).ok();
    }
    home.weald(&["trash", "empty"]).ok();
    assert_eq!(home.weald(&["trash", "list", "--json"]).ok(), "[]\n", "those of one second go, too");
}

#[test]
fn of_two_who_restore_one_workspace_at_once_one_has_it_and_the_other_is_told() {
    let home = Home::new();
    let repo = home.repo("tool");
    home.weald(&["create", repo.to_str().unwrap(), "w"]).ok();
    for _ in 0..12 {
        home.weald(&["remove", "w"]).ok();
        let names = ["w", "other"];
        let restore = |name| {
            let mut command = home.command();
            command.args(["trash", "restore", "w", name]).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let said = names.map(restore).map(|child| child.wait_with_output().unwrap());
        let winners: Vec<&str> = names
            .into_iter()
            .zip(&said)
            .filter(|(_, said)| said.status.success())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(winners.len(), 1, "{said:?}");
        let loser = said.iter().find(|said| !said.status.success()).unwrap();
        assert!(String::from_utf8_lossy(&loser.stderr).contains("[W0009]"), "{loser:?}");
        let list = home.weald(&["list", "--json"]).json();
        assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &winners[0].into()));
        assert!(home.at(winners[0]).join("a.txt").exists() && home.mounts().len() == 1);
        if winners[0] == "other" {
            home.weald(&["rename", "other", "w"]).ok();
        }
    }
}
