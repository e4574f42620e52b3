//! All error codes, each with the text that `meshctl explain` prints.
//!
//! Families: `C` configuration and usage, `N` network and reaching a node, `I` identity, `B` building plugins,
//! `P` plugin, `S` store and limits of messages, `A` the control API. A number is never reused.

use super::error::Code;

/// Returns the code with this id, in any case and with or without `MESH-`.
///
/// ```
/// assert_eq!(mesh_node::api::code::find("n101").unwrap().id, "MESH-N101");
/// ```
pub fn find(id: &str) -> Option<&'static Code> {
    let id = id.to_ascii_uppercase();
    let id = id.strip_prefix("MESH-").unwrap_or(&id);
    ALL.iter().copied().find(|code| code.id.strip_prefix("MESH-") == Some(id))
}

macro_rules! codes {
    ($($name:ident $id:literal $exit:literal $title:literal $text:literal)*) => {
        $(
            #[doc = concat!($id, ": ", $title, ".")]
            pub static $name: Code = Code { id: $id, exit: $exit, title: $title, text: $text };
        )*

        /// Every code, in order.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    USAGE "MESH-C100" 2 "wrong usage of the command line"
"An option, an argument or a sub-command is unknown, missing or of the wrong form.
Every command shows its options and examples with --help."

    BAD_NAME "MESH-C101" 2 "a name that cannot be used"
"Names of nodes have 1 to 32 letters, digits, '-' and '_', start with a letter, and do not look like a node
id (six or more hex digits). Topics have 1 to 256 bytes."

    BAD_ADDRESS "MESH-C102" 2 "an address that cannot be used"
"Addresses are HOST:PORT, such as 192.168.1.7:4747, [::1]:4747 or example.org:4747. To listen, the host is an
address of this machine, and port 0 takes any free port."

    BAD_VALUE "MESH-C103" 2 "a value outside its range"
"The value parses but is outside what the command accepts; the message names the range."

    NO_HOME "MESH-C104" 2 "no place for the data"
"Neither --data-dir nor XDG_DATA_HOME nor a home directory says where the node's data belongs.
Give --data-dir DIR, or --ephemeral for a node that keeps nothing."

    BAD_SCENARIO "MESH-C105" 2 "a scenario that cannot be run"
"The scenario has an unknown key, a quantity without its unit, or a number that cannot be. The message names file,
line and column, and what was probably meant. 'meshctl sim show steady' prints one that is right."

    NO_SUCH_SCENARIO "MESH-C106" 3 "no scenario has this name"
"A scenario is the path of a TOML file or the name of one that comes with the program.
'meshctl sim list' lists those."

    NOT_A_SAVED_RUN "MESH-C107" 2 "the file is no saved run"
"The file was not written by 'meshctl sim run --save', is damaged, or is of a version that this program does not
read."

    FILE_FAILED "MESH-C108" 1 "a file cannot be read or written"
"The operating system refuses the file that an option names; the message says why."

    NO_SUCH_FILE "MESH-C109" 3 "there is no such file"
"The path leads nowhere, seen from the directory that the command runs in. Nothing was changed."

    INTERNAL "MESH-C199" 1 "a failure without a code of its own"
"Something failed that should not. The message is the operating system's or the library's own.
Run again with -v for the log, and report it with the output of 'meshctl version --json'."

    NOT_RUNNING "MESH-N101" 4 "no node answers"
"The command talks to a node on this machine through its control socket, and there is none: no node runs, it
runs under another user or another XDG_RUNTIME_DIR, or it was killed and left its entry behind.
Start one with 'meshctl up --detach'."

    SEVERAL_NODES "MESH-N102" 2 "more than one node runs here"
"Several nodes of this user run on this machine, and the command does not say which one is meant.
Give -N NAME or set MESH_NODE."

    NO_SUCH_NODE "MESH-N103" 3 "no known node has this name or id"
"Nodes are given by name, by id, or by the first six or more digits of the id. A node is known once this one
has a link to it or has heard its signed record; 'meshctl topology' lists all that are known."

    AMBIGUOUS_NODE "MESH-N104" 2 "more than one node fits"
"Names are chosen by their nodes, so two nodes can have the same one, and short prefixes can fit several ids.
Give more digits of the id."

    NO_WAY "MESH-N105" 4 "the node is known, but no way leads there"
"No neighbour offers a way to the node now. Messages sent with --durable wait until one appears.
'meshctl route explain NODE' shows what is known, 'meshctl peers' the links."

    PING_TIMEOUT "MESH-N106" 8 "no answer in time"
"The node did not answer within the time given by --timeout. A way is believed to exist, but a link on it is
broken, overloaded, or the node has just gone."

    LISTEN_FAILED "MESH-N107" 1 "the node cannot listen there"
"The address is in use by another program, does not belong to this machine, or its port needs privileges.
Give another --listen HOST:PORT; port 0 takes any free one."

    SOCKET_FAILED "MESH-N108" 1 "the control socket cannot be made or used"
"The runtime directory is missing, not ours, open to others, or its path is too long for a Unix socket (about
100 bytes). Set XDG_RUNTIME_DIR to a short path that only this user can enter."

    NOT_READY "MESH-N109" 8 "the node did not become ready in time"
"The node was started in the background and did not report readiness in time. Its log says why."

    STOPPING "MESH-N110" 4 "the node is stopping"
"The node takes no new calls because it was asked to stop. It ends within five seconds."

    NAME_IN_USE "MESH-N111" 1 "another local node has this name"
"A node of this user with the same name already runs on this machine, and -N could not tell them apart.
Give another --name, or stop the other with 'meshctl -N NAME down'."

    PARTITIONED "MESH-N112" 1 "a large part of the mesh is away"
"A third of the members or more went silent within a short time, which is rather a cut of the network than that
many failures. Both sides go on by themselves: messages for the other side wait, and are delivered once it is
back. 'meshctl members' lists who is away."

    ISOLATED "MESH-N113" 1 "the node has no link to anybody"
"The node dials the addresses of --join and those of all nodes it remembers, ever more slowly, up to every half
minute. After ten rounds in vain it calls itself offline, and goes on trying. What is sent meanwhile waits.
Look at the network of this machine, and whether the others run."

    MEMBERS_SILENT "MESH-N114" 1 "members went silent"
"A suspect member was not heard by a neighbour and can still speak for itself; a dead one did not. It counts as
back the moment it is heard. A node that is stopped with 'meshctl down' leaves instead. 'meshctl members' lists
them."

    NOT_LET_IN "MESH-N115" 1 "another node does not let this one in"
"The admission policy of the other node closes every link to this one. Its operator lets this node in by a setting of that
policy ('meshctl plugin show admission' there), or ends it with 'meshctl plugin disable admission'. Messages go by way of
others as long as this node has a link to anybody. It tries again once a minute; 'meshctl peers' shows who refuses."

    KEY_MISSING "MESH-I101" 6 "the key file is missing"
"The data directory belongs to a node whose key file is gone. A new identity is never made over an old one,
because other nodes know this node by its key. Restore the file, or use an empty --data-dir for a new node."

    KEY_DAMAGED "MESH-I102" 6 "the key file is damaged"
"The key file does not hold exactly one key. Restore it from a backup, or use an empty --data-dir for a new
node."

    KEY_EXPOSED "MESH-I103" 6 "the key file can be read by others"
"Other users of this machine can read or change the key file, so the identity may be known to them.
If you trust them: chmod 600 FILE. Otherwise make a new node in another --data-dir."

    NO_PROJECT "MESH-B101" 3 "there is no plugin project"
"The directory has no plugin.toml, which every plugin project has at its top. Name the directory of the project, or make
one with 'meshctl plugin new NAME'."

    PROJECT_EXISTS "MESH-B102" 2 "the directory of the new project is not empty"
"'meshctl plugin new' writes into a new or an empty directory only, so that nothing of yours is overwritten. Give
another --dir."

    BAD_PLUGIN_NAME "MESH-B103" 2 "a name that a plugin cannot have"
"Plugins are called AUTHOR/NAME, both in lower-case letters, digits and dashes, 64 bytes together. A language can ask for
more: a crate in Rust starts with a letter and does not hide one that it needs."

    NO_TOOL "MESH-B104" 1 "a program that builds the plugin is missing"
"The plugin is built by a program that is not installed here or not in PATH. The message names it and where it comes
from. Nothing was built."

    NO_TARGET "MESH-B105" 1 "the compiler cannot build WebAssembly"
"Rust builds plugins for wasm32-unknown-unknown, whose libraries are an extra part of the toolchain. With rustup:
'rustup target add wasm32-unknown-unknown'. A Rust from elsewhere needs the package of its distribution for that target,
or rustup in its place."

    BUILD_FAILED "MESH-B106" 1 "the plugin does not build"
"The compiler or the command of [build] in plugin.toml failed; what it said stands above. What was built before is left
as it is, and what runs goes on."

    NO_ARTIFACT "MESH-B107" 1 "the build left nothing to make a plugin of"
"The build ended well, but the file that it should leave is not there or is no WebAssembly. A crate needs crate-type
cdylib; other projects name the file as artifact in [build] of plugin.toml."

    NOT_ENCODED "MESH-B108" 7 "the module cannot be made a component"
"A core module becomes a component by the description of its world, which the SDK leaves in it. The module has none, or
does not export what its world asks for: export the plugin with the SDK's macro, and build it with its bindings."

    BAD_CASES "MESH-B109" 2 "a file of test cases that cannot be read"
"The table of test cases is no TOML, has a key that its slot does not know, or a value of the wrong kind. The message
names file, line and column. The keys stand at the top of tests/cases.toml in every new project."

    TESTS_FAILED "MESH-B110" 11 "tests of the plugin failed"
"A unit test, or a case of tests/*.toml in the real host, did not answer as expected. Each is listed with its line, what
was expected and what came."

    CHECK_FAILED "MESH-B111" 11 "the plugin has faults that a node would refuse it for"
"'meshctl plugin check' found at least one error; each is listed with what to do. Warnings alone end with exit 0, unless
--strict is given."

    NO_CRATES "MESH-B112" 1 "crates cannot be fetched"
"The build needs crates that are not on this machine, and they cannot be fetched: there is no network, or --offline was
given. Build once with a network: cargo keeps them for all projects."

    TRACE_DIFFERS "MESH-B113" 11 "recorded decisions come out differently"
"'meshctl plugin test --replay' made the decisions of a recording again. Those that this very revision made must be equal
to the bit: if they are not, it keeps something that it does not save, or takes time or randomness from elsewhere than its
calls. Those of another revision may differ in the share that --max-differing allows. The message names the first ones."

    NO_SUCH_SLOT "MESH-P101" 3 "no slot has this name"
"The slots are route, qos, topology, admission, carry and beacon. 'meshctl plugin list' shows what runs in them."

    NO_SUCH_PLUGIN "MESH-P102" 3 "no such plugin is installed"
"Plugins are given by name, NAME@VERSION, or the first six or more digits of the digest.
'meshctl plugin list' shows all that are installed."

    NOT_A_COMPONENT "MESH-P103" 7 "the file is no WebAssembly component"
"Plugins are components. A core module (what rustc makes for wasm32-unknown-unknown) must be wrapped first;
see docs/plugins/tutorial.md. Truncated and damaged files end here as well."

    FORBIDDEN_IMPORT "MESH-P104" 7 "the component imports what is not granted"
"A policy may import nothing but types. The message names the import. Components for wasm32-wasip2 import
WASI; build for wasm32-unknown-unknown instead. 'meshctl plugin inspect FILE' lists all imports."

    WRONG_WORLD "MESH-P105" 7 "the component fits no slot"
"The component does not export an interface that a slot of this node asks for, or it fits another slot than
the one named. 'meshctl plugin inspect FILE' shows what it exports."

    PLUGIN_TOO_LARGE "MESH-P106" 13 "the component exceeds a limit"
"Its size, memory, tables or instances exceed what the host allows; the message names the limit."

    WRONG_VERSION "MESH-P107" 7 "the component needs another version of the interface"
"The component was built for a version of the WIT interface that this node does not offer.
Rebuild it with the SDK of this node's version, or use another node version."

    STATE_REFUSED "MESH-P108" 7 "the new plugin cannot take over the state"
"The successor refused the predecessor's saved state, so the swap did not happen and the old one goes on.
To start the new one afresh: meshctl plugin swap SLOT PLUGIN --reset-state"

    NO_PREVIOUS "MESH-P109" 3 "there is nothing to roll back to"
"Nothing was in the slot before what is in it now, or that has been removed; eight steps are remembered, also over a
restart. To give the slot to the native built-in: meshctl plugin disable SLOT. With --forward, no rollback has come since
the last swap."

    PLUGIN_IN_USE "MESH-P110" 1 "the plugin is in use"
"A slot uses this revision, so it cannot be removed. Swap the slot to another plugin first."

    SETTINGS_REFUSED "MESH-P111" 7 "the plugin refused its settings"
"A setting is unknown to the plugin, out of range, or of the wrong type. The swap did not happen."

    SWAP_FAILED "MESH-P112" 10 "the new plugin failed before the switch"
"The new plugin trapped, overran its deadline or answered rubbish while it was configured or tried out, so the
swap did not happen and the old one goes on."

    AMBIGUOUS_PLUGIN "MESH-P113" 2 "more than one plugin fits"
"Several installed revisions have this name or digest prefix. Give NAME@VERSION or more digits."

    HANDLER_FAILED "MESH-P114" 1 "the handler could not answer"
"The plugin behind this command trapped, was quarantined or refused the call; none of its effects happened.
'meshctl plugin show beacon' has the details."

    PLUGIN_QUARANTINED "MESH-P115" 1 "a plugin was quarantined"
"A plugin failed three times in a short while. It is not asked any more, and the slot went back to the last
good revision, the built-in, or whom its failure mode names. 'meshctl plugin show SLOT' lists its traps. It is tried again
after a while, also over a restart; 'meshctl plugin rollback SLOT' lets what took over stay, 'meshctl plugin disable SLOT'
gives the slot to the built-in, and swapping to a repaired version ends it as well."

    BAD_MANIFEST "MESH-P116" 7 "the plugin's manifest is wrong"
"The manifest inside the component (plugin.toml) does not parse, names no plugin, or declares settings that
cannot be. Correct plugin.toml and build the plugin again."

    GRANTS_REFUSED "MESH-P117" 5 "the plugin was not given what it asks for"
"The plugin imports capabilities of the host, and nobody granted them: the question was answered with no, or there was
nobody to ask. Nothing was installed or bound. 'meshctl plugin inspect FILE' shows what it imports, '--grant NAME' at
install or swap and 'meshctl plugin grants set' give it."

    NOT_SIGNED "MESH-P118" 6 "the plugin is not signed"
"The node was started with --require-signed-plugins, and nobody whom it trusts vouches for this plugin. Have its
publisher sign it ('meshctl plugin sign'), and trust the publisher's key ('meshctl plugin trust add')."

    UNTRUSTED_SIGNER "MESH-P119" 6 "the plugin is signed by a key that is not trusted"
"The signature holds, but nobody has told this node to trust the key that made it. Ask the publisher for the key over
another way than the one that the plugin came by, compare, then: meshctl plugin trust add KEY --for 'author/*'"

    SIGNER_OTHER_NAME "MESH-P120" 6 "the key is not trusted for plugins of this name"
"The key that signed the plugin is trusted, but for other names. Either the plugin is named after somebody else, or the
key is to be trusted for more: 'meshctl plugin trust list' shows for what, 'plugin trust add' changes it."

    SIGNER_OTHER_SLOT "MESH-P121" 6 "the key is not trusted for this slot"
"The key that signed the plugin is trusted, but for plugins of other slots. 'meshctl plugin trust list' shows for which,
'plugin trust add' changes it."

    BAD_SIGNATURE "MESH-P122" 6 "a signature does not verify"
"A signature in the package was not made by the key that it names, or what it covers was changed afterwards. Nothing was
installed. Fetch the package again; if that does not help, the package is forged."

    SIGNATURE_EXPIRED "MESH-P123" 6 "the signature has expired"
"Its publisher signed the plugin until a time that has passed. Get a newer package. What is in a slot already stays there
beyond that time."

    SIGNER_REVOKED "MESH-P124" 6 "the plugin is signed by a revoked key"
"The key was revoked on this node with 'meshctl plugin trust revoke'. That is for ever, and beats every other signature:
what the key signed is not installed, not bound, and was taken out of its slots when the key was revoked. The publisher
has to sign with a new key, and the new key has to be trusted."

    NOT_AS_SIGNED "MESH-P125" 6 "the component is not the one that was signed"
"The signature holds for another component: the digest, name, version, world, grants or limits that it states are not
those of this one. The file was exchanged after it was signed."

    MANIFEST_DIFFERS "MESH-P126" 6 "the package shows another manifest than its component carries"
"A package repeats the manifest of its component, so that it can be read without unpacking. The two differ, so one of them
was changed. Nothing was installed."

    BAD_PACKAGE "MESH-P127" 6 "the package cannot be read"
"The .meshpkg file is damaged, truncated, of a newer layout, or has a part beyond its limit. Fetch it again."

    DOWNGRADE "MESH-P128" 6 "a newer version was in use before"
"An older version, however well signed, can bring back a fault that the newer one repaired, so a slot takes none below the
highest version that it ever had of that plugin. If that is what you want: meshctl plugin swap SLOT PLUGIN
--allow-downgrade. A rollback to the revision before needs no such option, and built-in plugins are exempt."

    NO_SUCH_KEY "MESH-P129" 3 "the list of trusted keys has no such key"
"'meshctl plugin trust list' shows the keys."

    BAD_SIGNING_KEY "MESH-P130" 2 "the key cannot be used"
"A public key is 'ed25519:' and 64 hex digits; a signing key is a file that 'meshctl plugin key new' made, readable by its
owner only. The message says what is wrong."

    CANNOT_SIGN "MESH-P131" 7 "there is nothing to sign"
"A signature is over the name, version and world of a component, so the component must have a manifest and fit a slot."

    COMPILER_FAILED "MESH-P132" 1 "the process that compiles plugins failed"
"A plugin that did not come with this program is compiled by a process of its own, with 2 s of CPU and 512 MiB of
memory, and more for a large one. That process could not be started, or ended by itself: the system may be out of processes or memory. A plugin
that needs more than the limits is refused as too large instead."

    TRIAL_RUNNING "MESH-P150" 1 "a trial is under way in the slot"
"A candidate runs in the shadow of this slot or decides for a share of its flows. Another swap would leave open what it
is compared with, and a pause would end when it passes. 'meshctl plugin show SLOT' shows how it stands; 'meshctl plugin rollback SLOT' ends it, and then the
slot can be swapped or paused."

    TRIAL_RETURNED "MESH-P151" 10 "the candidate did not pass its trial"
"A gate did not hold: the candidate trapped, disagreed too often, was too slow, or no traffic came to compare it by. What
decided before decides on everything again, and no message was lost. 'meshctl plugin show SLOT' shows the figures and
examples; to judge it by other gates: --max-disagreement, --max-p99, --max-traps."

    NO_TRIAL "MESH-P152" 3 "the slot had no trial"
"Since the node was started, no candidate has been tried in this slot. To try one: meshctl plugin swap SLOT PLUGIN
--shadow 30s"

    NO_PLUGIN_IN_SLOT "MESH-P190" 3 "no plugin is in the slot"
"The native built-in decides in this slot already, and it can neither be disabled nor paused nor held to limits.
'meshctl plugin enable SLOT PLUGIN' puts an installed plugin into it."

    WRONG_STATE "MESH-P191" 1 "the slot is not in the state for that"
"A slot that is paused cannot be paused again, and one that is neither paused nor has a plugin in quarantine has nothing
to resume. 'meshctl plugin list' shows the states."

    LIMIT_REFUSED "MESH-P192" 13 "the limit cannot be set to that"
"Limits go down from the host's own, never up, and the memory limit not below what the plugin has in use.
'meshctl plugin limits show SLOT' shows the range and what is used."

    PLUGIN_PINNED "MESH-P193" 1 "the plugin is pinned"
"The revision was pinned, so nothing removes it. 'meshctl plugin unpin PLUGIN' ends that."

    NO_SUCH_FUNCTION "MESH-P160" 3 "the component exports no such function"
"'meshctl plugin call FILE' without a function lists what the component exports, with the types of the parameters.
A name that several interfaces export is written INTERFACE#FUNCTION."

    BAD_ARGUMENT "MESH-P161" 2 "an argument is not of the type that the function takes"
"Arguments are written in WAVE, the notation of the component model: 7, true, \"text\", [1, 2], {name: value}, some(3),
ok, case(value). The error says the type that is wanted and the character where the text departs from it; names of
fields have dashes, as in the WIT ('meshctl plugin wit')."

    CALL_FAILED "MESH-P162" 1 "the function did not answer"
"It trapped, or exceeded its time or the size of an answer. On a node the native built-in would have answered this
call, and the plugin would have a strike."

    LARGE_PLUGIN "MESH-P163" 13 "the component is large and was not asked for as such"
"A component of more than 4 MiB brings an interpreter along, as those in Python do. Compiling it takes a core for up to
60 s, once, and an instance takes megabytes; its calls cost what an interpreter costs. 'meshctl plugin bench FILE' shows
that beforehand. If you want it: --allow-large."

    BAD_BINDINGS "MESH-P164" 2 "the list of bindings cannot be used"
"The file was not written by 'meshctl plugin export', is of a version that this program does not read, or was changed to
something that cannot be: an unknown key, a part that stands in it twice, a package that does not lie beside it. Nothing
was changed on the node."

    REGISTRY_UNREACHABLE "MESH-P170" 1 "the registry cannot be reached"
"The name does not resolve, nothing listens there, the connection broke, or TLS does not trust the certificate; the
message says which. Certificates are checked against the roots of this system. A registry that speaks plain HTTP and is
not on this machine needs --plain-http."

    REGISTRY_REFUSED "MESH-P171" 5 "the registry refuses"
"The registry asks for credentials, refuses those it got, or does not allow the operation. Credentials are those of
Docker: 'docker login HOST' writes them to ~/.docker/config.json, or to the directory that DOCKER_CONFIG names; helpers
that stand there are asked too."

    NOT_IN_REGISTRY "MESH-P172" 3 "the registry does not have it"
"The repository, the tag or the digest does not exist there, or is hidden from those without credentials."

    REGISTRY_BUSY "MESH-P173" 13 "the registry takes no more requests now"
"The registry limits how often it is asked, and asks to wait longer than a command waits. Try again later, or with
credentials, which often have a higher limit."

    REGISTRY_FAILED "MESH-P174" 1 "the registry failed"
"The registry answered with an error or with something that is no answer of a registry, several times where trying again
can help. Nothing was installed. What was published partly has no tag yet, and can be published again."

    WRONG_DIGEST "MESH-P175" 6 "what the registry sent is not what was asked for"
"Everything in a registry is named by its SHA-256. What came has another one, or ended early each time: it was damaged or
exchanged on the way or in the registry. Nothing was installed."

    NOT_AN_ARTIFACT "MESH-P176" 7 "there is no plugin under this reference"
"A plugin in a registry is a manifest with a config of the type application/vnd.wasm.config.v0+json and one layer of the
type application/wasm. Images of containers, indexes of several manifests and Helm charts are something else. The message
says what was found."

    TAG_MOVED "MESH-P177" 6 "the tag stands for something else than when it was installed"
"plugins.lock in the node's data directory keeps which digest a tag stood for, and the registry has another one now. That
is how a new release under an old tag looks, and how an exchanged one looks. To take it: --update. To stay: install the
pinned digest."

    NOT_KEPT "MESH-P178" 3 "it is not here, and --offline forbids to fetch it"
"With --offline only what was installed from this reference before can be installed again; it lies beside plugins.lock in
the node's data directory. A file or package can be installed without a network at any time."

    BAD_REFERENCE "MESH-P179" 2 "the reference cannot be used"
"A plugin in a registry is named oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST."

    BAD_CREDENTIALS "MESH-P180" 5 "the credentials cannot be read"
"Docker's config.json is damaged, or a credential helper that it names is missing or failed. What stands there is never
shown."

    LOCK_UNUSABLE "MESH-P181" 1 "plugins.lock cannot be used"
"The lock file in the node's data directory, or what is kept beside it, cannot be read or written. It is never replaced
by an empty one, because that would forget what was pinned. Repair the file, or remove it to pin anew."

    TAG_TAKEN "MESH-P182" 6 "the tag names something else already"
"Whoever has installed the tag has pinned what it names now, and would be refused the new one. Publish under another tag,
or move this one with --replace."

    NO_JOURNAL "MESH-P194" 3 "there is no journal to read"
"Every slot keeps a journal of its last decisions, unless the node was started with --journal 0."

    NOT_A_TRACE "MESH-P195" 2 "the file is no recording of decisions"
"The file was not written by 'meshctl plugin record', is damaged, was cut off, or is of a version that this program does
not read. The message names the line."

    DECISIONS_DIFFER "MESH-P196" 1 "the same revision decided differently"
"A revision must give equal answers to equal calls, and in this replay it did not: it keeps something that it does not
save, or takes time or randomness from elsewhere than its calls; or the record was changed. The table names the
decisions."

    NOTHING_TO_REPLAY "MESH-P197" 1 "the record holds nothing that can be replayed"
"No decision was recorded, or none behind a state that is known. Record again while messages flow:
meshctl plugin record SLOT --for 30s
What a handler is told and remembers is hashed unless it is recorded with --with-payload, and hashes cannot be given to
it again."

    NO_SUCH_MESSAGE "MESH-N120" 3 "no message with this id is remembered"
"A node remembers what it decided on the messages of late, within a fixed number of bytes, and not beyond its own start.
Ask the node that sent it, with the id that 'meshctl send --json' printed."

    DATA_DIR_IN_USE "MESH-S101" 1 "another node uses this data directory"
"Two nodes on the same data would destroy it, so the second one is refused. Stop the other one, or give
another --data-dir."

    STORE_DAMAGED "MESH-S102" 1 "the store cannot be read"
"The store file is damaged, from a newer version, or not a store. It is left as it is."

    STORE_FULL "MESH-S103" 13 "the store refuses more"
"The disk is full, or the store has reached its limit. Durable messages wait, unacknowledged, until there is room;
others flow on."

    MESSAGE_TOO_LARGE "MESH-S104" 13 "the message exceeds the limit"
"The payload, or the batch, is larger than one message or batch may be; the message names the limit.
Larger things are sent in pieces."

    STORE_UNWRITABLE "MESH-S105" 1 "the data directory cannot be used"
"The data directory cannot be made, read or written by this user. Nothing was changed."

    QUEUE_FULL "MESH-S106" 13 "the queue for this destination is full"
"More is waiting than the node keeps for one destination and class. Send more slowly, in a more urgent class,
or wait for the way to open."

    EPHEMERAL "MESH-S107" 13 "an ephemeral node keeps nothing"
"The node was started with --ephemeral and has no disk to keep durable messages on. Send without --durable, or
start the node with a data directory."

    BAD_REQUEST "MESH-A101" 2 "the node did not understand the call"
"The bytes on the control socket are no call of this API. That happens when a client of another version, or
something else, talks to the socket."

    REQUEST_TOO_LARGE "MESH-A102" 13 "the call exceeds the limit"
"A header or a body on the control socket is larger than the node takes; the connection was closed."

    TOO_MANY_CLIENTS "MESH-A103" 13 "too many clients"
"The node serves a bounded number of control connections at once. Close some, or try again."

    FORBIDDEN "MESH-A104" 5 "the caller is another user"
"The control socket serves only the user that the node runs as."

    UNEXPECTED_REPLY "MESH-A105" 7 "the node answered something else"
"The node's answer does not fit the call: it runs another version than this client. Compare
'meshctl version' and 'meshctl status'."

    CONNECTION_LOST "MESH-A106" 4 "the node closed the connection"
"The node stopped, was killed, or closed the connection in the middle of a call. Whether the call took effect
is unknown; messages that were acknowledged as stored are safe."

    TIMED_OUT "MESH-A107" 8 "no answer within the given time"
"The node took longer than --timeout. Whether the call took effect is unknown."

    DEMO_FAILED "MESH-A108" 1 "the demo did not hold what it promises"
"Messages were lost or doubled, a counter jumped, or a step failed. The table and the message say which."

    BENCH_FAILED "MESH-A109" 1 "the measurement could not be taken"
"A process of the benchmark failed or did not end in time."

    EXPECTATION_FAILED "MESH-A112" 11 "a simulation is not as expected"
"The scenario ran to its end and no invariant broke, but a figure of the report is not what its [expect] section
asks for, or was not measured. The facts name the figures. The same seed gives the same run again."

    INVARIANT_BROKEN "MESH-A113" 1 "a simulation broke an invariant"
"Something happened that must not happen whatever the network does: a message was delivered twice, something
forged was accepted, a queue outgrew its bound, or the mesh did not come together again after the faults. The
facts name the first cases. The same seed gives the same run again."

    REPLAY_DIFFERS "MESH-A114" 1 "the run is another one than the saved one"
"A saved run was repeated and went another way: the program, a plugin or the scenario has changed since. The facts
name the first interval of virtual time that differs."

    INTERRUPTED "MESH-A111" 130 "interrupted"
"The command was stopped by Ctrl-C or a signal, and has cleaned up behind itself."

    NO_SUCH_CODE "MESH-A110" 3 "no error has this code"
"'meshctl explain' without an argument lists all codes."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_unique_documented_and_well_formed() {
        let mut seen = BTreeSet::new();
        for code in ALL {
            assert!(seen.insert(code.id), "{} twice", code.id);
            let rest = code.id.strip_prefix("MESH-").unwrap();
            assert!(rest.len() == 4 && "CNIPRSJAOB".contains(&rest[..1]), "{}", code.id);
            assert!(rest[1..].bytes().all(|digit| digit.is_ascii_digit()), "{}", code.id);
            assert!(matches!(code.exit, 1..=13 | 130), "{}", code.id);
            assert!(code.text.len() > 40 && !code.title.ends_with('.'), "{}", code.id);
        }
    }

    #[test]
    fn codes_are_found_however_they_are_typed() {
        for text in ["MESH-P107", "mesh-p107", "p107"] {
            assert_eq!(find(text), Some(&WRONG_VERSION), "{text}");
        }
        assert_eq!(find("MESH-X999"), None);
    }
}
