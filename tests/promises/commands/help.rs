//! What the program says of itself.

use tenantry_tests::Home;

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')).map(str::to_owned);
    let names = lines.filter_map(name).filter_map(|line| line.split(' ').next().map(str::to_owned));
    names.filter(|name| name != "help").collect()
}

fn every_command(home: &Home, path: Vec<String>, told: &mut Vec<String>) {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let short = home.run(&[&words[..], &["-h"]].concat()).exits(0);
    let long = home.run(&[&words[..], &["--help"]].concat()).exits(0);
    for help in [&short, &long] {
        assert_eq!(help.stderr, "", "{words:?}");
        assert!(help.stdout.contains(&format!("Usage: tenantry {}", words.join(" "))), "{}", help.stdout);
    }
    // A flag without a sentence is a line that ends behind its value's name.
    for line in short.stdout.lines().filter(|line| line.starts_with("  -") || line.starts_with("      -")) {
        let columns: Vec<&str> = line.trim().splitn(2, "  ").collect();
        assert!(columns.len() == 2 && columns[1].trim().len() > 5, "{words:?} does not explain: {line}");
    }
    told.push(words.join(" "));
    for command in listed(&short.stdout) {
        every_command(home, [path.clone(), vec![command]].concat(), told);
    }
}

#[test]
fn every_command_and_every_flag_has_its_help() {
    let home = Home::new();
    let mut told = Vec::new();
    every_command(&home, Vec::new(), &mut told);
    for command in ["enqueue", "migrate", "retry", "status", "tenants add", "tenants import", "tenants sync"]
    {
        assert!(told.iter().any(|t| t == command), "{command} is not among {told:?}");
        let words: Vec<&str> = command.split(' ').chain(["-h"]).collect();
        assert!(home.run(&words).exits(0).stdout.contains("\nExamples:\n"), "{command} has no examples");
    }
    let help = home.run(&["--help"]).exits(0).stdout;
    for code in [0, 1, 2, 4, 75, 78, 100, 103, 104, 124, 130, 143] {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {code:>3}  "))), "{code} in\n{help}");
    }
    for name in ["TENANTRY_MASTER_KEY", "TENANTRY_REGISTRY_URL", "DATABASE_URL"] {
        assert!(help.contains(name), "{name} in\n{help}");
    }
    let none = home.run(&[]).exits(2);
    assert!(none.stdout.is_empty() && none.stderr.contains("Usage: tenantry"), "{none:?}");
}

#[test]
fn every_shell_gets_a_completion_script() {
    let home = Home::new();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef tenantry"),
        ("fish", "complete -c tenantry"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = home.run(&["completions", shell]).exits(0);
        assert!(script.stdout.contains(word) && script.stdout.contains("tenants-file"), "{shell}");
        assert_eq!(script.stderr, "");
    }
    let _ = home.run(&["completions", "dos"]).exits(2);
}
