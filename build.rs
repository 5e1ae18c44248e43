//! Gathers the compressed files that the pages load into one table, `assets.rs`, which `src/pages` includes.
//!
//! npm builds the dashboard and GraphiQL from `web/`; Scalar comes out of its crate. `CROSSLINK_WEB` says what to do about
//! npm: `auto`, where the plain pages take the place of what cannot be built, `require`, `skip`, or the folder of a bundle
//! that is built already.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "so cargo and a build script speak to each other"
)]

use std::{
    env,
    fmt::Write,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use brotli::enc::BrotliEncoderParams;

/// What the bundle is made of. `web/` as a whole is not watched: npm writes into it.
const SOURCES: [&str; 10] = [
    "schema.graphql",
    "web/.npmrc",
    "web/codegen.mjs",
    "web/graphiql.html",
    "web/index.html",
    "web/package-lock.json",
    "web/package.json",
    "web/src",
    "web/tsconfig.json",
    "web/vite.config.js",
];
/// The pages of a bundle; everything else in it is loaded by them.
const PAGES: [&str; 2] = ["index.html", "graphiql.html"];
/// The oldest Node that builds them, as `web/package.json` says too.
const NODE: (u32, u32) = (20, 19);
/// What `npm ci` does in all cases. What surrounds a build may speak of production, for which it is not.
const INSTALL: [&str; 4] = ["ci", "--include=dev", "--prefer-offline", "--loglevel=error"];
/// Asks for one package, once: npm itself would ask in vain for each of them, and again, for minutes.
const REACH: [&str; 5] = ["view", "vite", "name", "--fetch-retries=0", "--fetch-timeout=10000"];
/// Of what npm has to say when it fails, so many lines fit into a warning.
const LINES: usize = 4;

fn main() {
    println!("cargo::rerun-if-env-changed=CROSSLINK_WEB");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    if let Err(why) = gather(&out) {
        println!("cargo::error={why}");
    }
}

/// Writes `assets.rs`.
fn gather(out: &Path) -> Result<(), String> {
    let bundle = bundle(out)?;
    let mut files = match &bundle {
        Some(folder) => compressed_files(folder)?,
        None => Vec::new(),
    };
    files.push(("assets/scalar.js".to_owned(), scalar(out)?));
    let table = table(bundle.is_some(), &files)?;
    fs::write(out.join("assets.rs"), table).map_err(|why| format!("cannot write assets.rs: {why}"))
}

/// The folder of the built pages, or None when this build has to do with the plain ones.
fn bundle(out: &Path) -> Result<Option<PathBuf>, String> {
    let wanted = env::var("CROSSLINK_WEB").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.unwrap_or_else(|| "auto".to_owned());
    match wanted.as_str() {
        "skip" => Ok(None),
        "auto" | "require" => match built(out) {
            Ok(folder) => Ok(Some(folder)),
            Err(why) if wanted == "require" => {
                Err(format!("CROSSLINK_WEB=require, but web/ cannot be built: {why}"))
            }
            Err(why) => {
                println!(
                    "cargo::warning=the pages are the plain ones, because web/ could not be built: {why}. With Node {}.{} \
                     or newer, npm and its registry, CROSSLINK_WEB=require makes the full ones; CROSSLINK_WEB=skip is content",
                    NODE.0, NODE.1
                );
                Ok(None)
            }
        },
        folder => {
            println!("cargo::rerun-if-changed={folder}");
            let found = fs::canonicalize(folder).map(Some);
            found.map_err(|why| {
                format!("CROSSLINK_WEB is auto, require, skip or a folder, not {folder:?}: {why}")
            })
        }
    }
}

/// Builds the pages, into the folder that it returns.
fn built(out: &Path) -> Result<PathBuf, String> {
    node()?;
    let web = Path::new("web");
    let folder = out.join("web");
    let folder_name = folder.to_str().ok_or("the name of the target folder is no UTF-8")?;
    // `cargo run -- schema graphql > schema.graphql` empties the file before it builds, and fills it then.
    if fs::metadata("schema.graphql").is_ok_and(|schema| schema.len() == 0) {
        return compressed_files(&folder).map(|_| folder).map_err(|_| "schema.graphql is empty".to_owned());
    }
    // Cargos of two profiles may build at the same time, with one `web/` between them.
    let _turn = turn(&web.join("generated")).map_err(|why| format!("cannot take turns in web/: {why}"))?;
    if !installed(web) {
        install(web)?;
    }
    npm(web, &["run", "build", "--", "--outDir", folder_name, "--emptyOutDir", "--logLevel=error"])?;
    Ok(folder)
}

/// Whether Node is there, and new enough.
fn node() -> Result<(), String> {
    let said = Command::new("node").arg("--version").output();
    let said = said.map_err(|_| "Node is not installed".to_owned())?;
    let said = String::from_utf8_lossy(&said.stdout);
    let version = said.trim().trim_start_matches('v');
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= NODE => Ok(()),
        (Some(_), Some(_)) => Err(format!("Node {version} is too old")),
        _ => Err(format!("`node --version` says {version:?}")),
    }
}

/// Waits until no other build works here. The turn ends with the file.
fn turn(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Whether the packages of the lockfile are there. npm writes its own record of them last.
fn installed(web: &Path) -> bool {
    let changed = |path: &str| -> Option<SystemTime> { fs::metadata(web.join(path)).ok()?.modified().ok() };
    let record = changed("node_modules/.package-lock.json");
    record.is_some() && record >= changed("package-lock.json")
}

/// Installs from what npm remembers, or else from its registry.
fn install(web: &Path) -> Result<(), String> {
    let remembered = [&INSTALL[..], &["--offline"]].concat();
    if npm(web, &remembered).is_ok() {
        return Ok(());
    }
    npm(web, &REACH)?;
    npm(web, &INSTALL)
}

fn npm(web: &Path, args: &[&str]) -> Result<(), String> {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let ran = Command::new(npm)
        .args(args)
        .current_dir(web)
        .env_remove("NODE_ENV")
        .env_remove("FORCE_COLOR")
        .env("NO_COLOR", "1")
        .output()
        .map_err(|_| "npm is not installed".to_owned())?;
    if ran.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&ran.stderr);
    let lines = complaint.lines().map(|line| line.trim_start_matches("npm error").trim());
    let worth_reading = lines.filter(|line| !line.is_empty() && !line.starts_with("npm warn"));
    let lines: Vec<&str> = worth_reading.take(LINES).collect();
    Err(format!("npm {} failed: {}", args[0], lines.join("; ")))
}

/// Each compressed file of a bundle, by its name without `.br`, in the order of the names.
fn compressed_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let unreadable = |why: io::Error| format!("cannot read {}: {why}", folder.display());
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = name_within(folder, &path) {
                files.push((name, path));
            }
        }
    }
    files.sort();
    match PAGES.iter().find(|page| !files.iter().any(|(name, _)| name == *page)) {
        Some(page) => {
            Err(format!("{} is no bundle that `npm run build` made: it has no {page}.br", folder.display()))
        }
        None => Ok(files),
    }
}

fn name_within(folder: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(folder).ok()?.to_str()?.strip_suffix(".br")?;
    Some(name.replace('\\', "/"))
}

/// Scalar, compressed. It takes two seconds, and is kept until there is another version of it.
fn scalar(out: &Path) -> Result<PathBuf, String> {
    // The crate reads its own source folder.
    let script =
        scalar_api_reference::get_asset("scalar.js").ok_or("cannot read Scalar in its crate's source")?;
    let path = out.join(format!("scalar-{:016x}.js.br", hash(&script)));
    if !path.exists() {
        // Quality 11 would save a sixth, and take a minute.
        let params = BrotliEncoderParams { quality: 5, ..BrotliEncoderParams::default() };
        let mut compressed = Vec::new();
        brotli::BrotliCompress(&mut script.as_slice(), &mut compressed, &params)
            .and_then(|_| fs::write(&path, compressed))
            .map_err(|why| format!("cannot compress Scalar: {why}"))?;
    }
    Ok(path)
}

/// The source of the table: name, hash and compressed content of each file.
fn table(bundled: bool, files: &[(String, PathBuf)]) -> Result<String, String> {
    let mut source = format!("pub const BUNDLED: bool = {bundled};\npub const FILES: &[File] = &[\n");
    for (name, path) in files {
        let content = fs::read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
        let hash = hash(&content);
        writeln!(source, "    File {{ name: {name:?}, hash: {hash}, br: include_bytes!({path:?}) }},")
            .expect("a string takes everything");
    }
    source.push_str("];\n");
    Ok(source)
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
