//! `kms-model list | check [NAME..] [--long] | trace DEFECT`.
fn main() {
    let long = std::env::args().any(|a| a == "--long");
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    for c in kms_model::table::CONFIGURATIONS {
        if !names.is_empty() && !names.iter().any(|n| n == c.name) { continue; }
        let f = kms_model::run::configuration(c, long, 2, &|s, d| eprintln!("   {s} {d}"));
        println!("{} states {} depth {} took {:?} missed {:?} broken {:?}", c.name, f.states, f.depth, f.took, f.missed, f.broken.as_ref().map(|b| b.0));
        if let Some((_, t)) = &f.broken {
            let b = if long { c.long } else { c.short };
            for l in kms_model::words::trace(&kms_model::protocol::Protocol::sound(b), t) { println!("{l}"); }
        }
    }
    for c in kms_model::table::DEFECTS {
        if !names.is_empty() && !names.iter().any(|n| n == c.name) { continue; }
        let f = kms_model::run::defect(c, &|s, d| eprintln!("   {s} {d}"));
        println!("{} states {} depth {} took {:?} broken {:?}", c.name, f.states, f.depth, f.took, f.broken.as_ref().map(|b| b.0));
        if let Some((_, t)) = &f.broken {
            for l in kms_model::words::trace(&kms_model::protocol::Protocol::with(c.bounds, c.defect, c.promises), t) { println!("{l}"); }
        }
    }
}
