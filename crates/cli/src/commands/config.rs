//! `weald config`.

use crate::args::ConfigArgs;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{self, Align};
use weald_daemon::protocol::Request;
use weald_daemon::report::Setting;
use weald_model::Fault;

const HEADINGS: [(&str, Align); 3] =
    [("SETTING", Align::Left), ("VALUE", Align::Left), ("MEANING", Align::Left)];

pub(super) fn run(context: &Context, args: ConfigArgs) -> Result<Outcome, Fault> {
    match args.key {
        Some(key) if args.unset || args.value.is_some() => set(context, key, args.value),
        Some(key) => show_one(context, key),
        None => show_all(context),
    }
}

fn set(context: &Context, key: String, value: Option<String>) -> Result<Outcome, Fault> {
    let setting: Setting = context.ask(Request::SetConfig { key, value })?;
    if context.json {
        output::json(&setting);
    } else {
        let default = if setting.is_set { "" } else { ", the default" };
        output::text_line(&format!("{} is {}{default}", setting.key, output::strong(&text(&setting.value))));
    }
    Ok(Outcome::Yes)
}

fn show_one(context: &Context, key: String) -> Result<Outcome, Fault> {
    let settings: Vec<Setting> = context.ask(Request::Config { key: Some(key) })?;
    for setting in &settings {
        if context.json { output::json(setting) } else { output::text_line(&text(&setting.value)) }
    }
    Ok(Outcome::Yes)
}

fn show_all(context: &Context) -> Result<Outcome, Fault> {
    let settings: Vec<Setting> = context.ask(Request::Config { key: None })?;
    if context.json {
        output::json(&settings);
        return Ok(Outcome::Yes);
    }
    let line = |setting: &Setting| {
        let value = text(&setting.value);
        let value = if setting.is_set { output::strong(&value) } else { value };
        vec![setting.key.clone(), value, setting.about.clone()]
    };
    output::table(&HEADINGS, settings.iter().map(line).collect());
    Ok(Outcome::Yes)
}

/// Text without the quotes of JSON.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
