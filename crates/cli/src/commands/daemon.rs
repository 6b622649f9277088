//! `weald daemon start|stop|restart|run`.

use crate::args::DaemonCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output;
use serde_json::json;
use weald_daemon::launch::{self, Launched};
use weald_daemon::report::Stopped;
use weald_daemon::run::{self, End};

use weald_daemon::{asker, ipc, ssh_agent, supervisor, teller};
use weald_model::Fault;

pub(super) fn run(context: &Context, command: DaemonCommand) -> Result<Outcome, Fault> {
    match command {
        DaemonCommand::Start => start(context),
        DaemonCommand::Stop => stop(context),
        DaemonCommand::Restart { upgrade: false } => {
            launch::stop(&context.home)?;
            start(context)
        }
        DaemonCommand::Restart { upgrade: true } => upgrade(context),
        DaemonCommand::Run { announce, resume } => {
            if !resume {
                ssh_agent::offer(&context.home);
            }
            supervisor::run(&context.home, announce, resume).map(|()| Outcome::Yes)
        }
        DaemonCommand::Bind { path } => ipc::bind(&path).map(|()| Outcome::Yes),
        DaemonCommand::Tell => teller::run().map(|()| Outcome::Yes),
        DaemonCommand::Ask => asker::run().map(|()| Outcome::Yes),
        DaemonCommand::Serve { announce } => Ok(match run::run(&context.home, announce)? {
            End::Told => Outcome::Yes,
            End::HandedOn => Outcome::Code(supervisor::HANDED_ON),
        }),
    }
}

fn start(context: &Context) -> Result<Outcome, Fault> {
    let launched = launch::start(&context.home)?;
    let (pid, fresh) = match launched {
        Launched::Started { pid } => (pid, true),
        Launched::Running { pid } => (pid, false),
    };
    if context.json {
        output::json(&json!({ "running": true, "pid": pid, "started": fresh }));
    } else if fresh {
        output::text_line(&format!("The daemon runs, process {pid}"));
    } else {
        output::text_line(&format!("The daemon runs already, process {pid}"));
    }
    Ok(Outcome::Yes)
}

fn upgrade(context: &Context) -> Result<Outcome, Fault> {
    let Some(pid) = launch::replace(&context.home)? else { return start(context) };
    if context.json {
        output::json(&json!({ "running": true, "pid": pid, "started": true }));
    } else {
        output::text_line(&format!("The daemon is process {pid} now; every mount stayed"));
    }
    Ok(Outcome::Yes)
}

fn stop(context: &Context) -> Result<Outcome, Fault> {
    let stopped: Option<Stopped> = launch::stop(&context.home)?;
    if context.json {
        let unmounted = stopped.as_ref().map_or(0, |stopped| stopped.unmounted);
        let pid = stopped.as_ref().map(|stopped| stopped.pid);
        output::json(
            &json!({ "running": false, "stopped": pid.is_some(), "pid": pid, "unmounted": unmounted }),
        );
        return Ok(Outcome::Yes);
    }
    match stopped {
        Some(stopped) => output::text_line(&format!(
            "The daemon has ended; {} unmounted and kept",
            crate::words::count(stopped.unmounted, "workspace")
        )),
        None => output::text_line("No daemon was running"),
    }
    Ok(Outcome::Yes)
}
