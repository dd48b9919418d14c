"""Every setting of a node, with default, unit and trade-off. `node.toml.example` and `swarmd config explain` are made from this file.

Training keys carry TRL's names and meanings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from swarm.config.guest_section import GuestSection
from swarm.config.sampling_section import SamplingSection
from swarm.config.setting import setting


@dataclass(frozen=True, slots=True)
class SwarmSection:
    """Which swarm the node is in."""

    manifest: str = setting(
        "embedded",
        "The swarm's rules: the path of a manifest file, the name of a built-in one (embedded, reasoning, scratch, words, code), or the 64 hex digits of a swarm id, whose manifest is then fetched from a bootstrap peer.",
    )
    bootstrap: tuple[str, ...] = setting(
        (), "Multiaddrs (with /p2p/<peer id>) of peers to join by; empty starts a swarm of one, which others can join."
    )
    beacon_urls: tuple[str, ...] = setting(
        ("https://api.drand.sh", "https://api2.drand.sh", "https://api3.drand.sh", "https://drand.cloudflare.com"),
        "Web addresses of drand servers, for swarms whose manifest says drand: one small request per epoch; empty takes the signed rounds from peers only.",
    )


@dataclass(frozen=True, slots=True)
class NetworkSection:
    """How the node talks to peers."""

    listen: tuple[str, ...] = setting(
        ("/ip4/0.0.0.0/tcp/4711",), "Multiaddrs to listen on; port 0 takes a free one, which changes at every start."
    )
    announce: tuple[str, ...] = setting(
        (), "Multiaddrs to tell peers instead of the ones listened on, for a node behind a forwarded port."
    )
    mdns: bool = setting(
        True, "Find peers of the same swarm on the local network by multicast; off hides the node from its neighbours."
    )
    max_connections: int = setting(
        64, "Connections held at once; more reach the swarm in fewer hops and cost memory and CPU.", minimum=1
    )
    request_timeout_s: float = setting(
        10.0, "Seconds to wait for a peer's answer to a request or dial before giving up on it.", above=0
    )
    max_inbound_queue: int = setting(
        1024,
        "Received messages waiting for admission; when full, the peer that forwarded most of what waits loses its oldest.",
        minimum=1,
    )
    max_inbound_bytes: int = setting(
        64 * 2**20, "Bytes of received messages waiting for admission, with the same policy.", minimum=2**20
    )
    allow: tuple[str, ...] = setting(
        (), "Peer ids and address ranges (192.0.2.0/24) to speak to; empty means everybody, anything else nobody but these."
    )
    deny: tuple[str, ...] = setting(
        (), "Peer ids and address ranges that are refused in and out, also if allowed; takes effect at the next start."
    )
    max_connections_per_address: int = setting(
        8,
        "Connections with any one public IP address; more lets larger households in, and larger crowds of one owner.",
        minimum=1,
    )
    max_connections_per_subnet: int = setting(
        16, "Connections with any one public /24 of IPv4 or /56 of IPv6; local addresses have no such limits.", minimum=1
    )
    peer_messages_per_s: float = setting(
        100.0,
        "New messages read per second from any one peer, five times as many at once; a fifth of it is what is forwarded of one peer's. Who keeps exceeding it is cut off.",
        above=0,
    )
    peer_bytes_per_s: float = setting(
        4.0 * 2**20,
        "Bytes read per second from any one peer, a quarter of a minute's worth at once; half of it may be gossip. Lower saves bandwidth and slows large bodies down.",
        above=0,
    )
    max_bytes_per_s: float = setting(
        0.0,
        "Bytes per second over all connections together, each way; 0 has no limit. Much below 50 kB/s a large swarm's rollouts come late or not at all.",
        minimum=0,
    )
    cut_off_s: float = setting(
        600.0, "Seconds for which a peer that floods, sends invalid messages or lost its standing is not spoken to.", above=0
    )


@dataclass(frozen=True, slots=True)
class PolicySection:
    """The model that this node trains."""

    model: str = setting(
        "embedded",
        "The base model: embedded, smollm2 (out of a package, docs/smollm2.md), the path of a Hugging Face model folder, or a hub name; swarmd models lists some.",
    )
    revision: str = setting("", "The hub revision (commit hash) to pin; empty takes the newest, which can change under you.")
    device: str = setting("auto", "Where the policy runs: auto, cpu, cuda, cuda:0, mps.")
    generation_device: str = setting(
        "",
        "A second device (cuda:1), on which a copy of the policy generates while the other one trains; it takes the new weights after each update. Empty does both on one. training.max_versions_behind lets them work at once.",
    )
    dtype: str = setting(
        "auto",
        "Weights and compute: auto (bfloat16 on a GPU that has it, else float32), float32, bfloat16.",
        choices=("auto", "float32", "bfloat16"),
    )
    adapter: str = setting(
        "auto",
        "What is trained: none (all weights), lora (thin matrices beside frozen weights), qlora (the same over weights in 4 bits, on a CUDA card; pip install 'swarmd[gpu]'), auto takes the first of these that fits the memory.",
        choices=("auto", "none", "lora", "qlora"),
    )
    lora_rank: int = setting(
        16, "Rank of the adapter's matrices; more can learn more and costs memory in proportion.", minimum=1, maximum=1024
    )
    lora_alpha: float = setting(
        32.0, "The adapter's part is scaled by alpha / rank; twice the rank is usual, and acts like a learning rate.", above=0
    )
    lora_targets: str = setting(
        "all-linear", "Layers that get an adapter: all-linear, or the ends of their names, separated by commas (q_proj,v_proj)."
    )
    gradient_checkpointing: str = setting(
        "auto",
        "Keep only the inputs of the layers in a training pass and make the rest again for the gradient: a third more time, a fraction of the memory, the same gradient. auto does it where memory is short.",
        choices=("auto", "on", "off"),
    )
    memory: float = setting(
        0.0,
        "What the policy may use of its device's memory, from which follow how many completions are sampled at once and how large a training pass is: up to 1 a share of it, above 1 GiB, 0 takes nine tenths of a GPU's free memory or half of the machine's.",
        minimum=0,
    )
    rendering: str = setting(
        "auto",
        "How tasks are shown to the policy: auto (compact for the embedded model, prose for others, where the swarm allows it), compact, scratch, prose.",
        choices=("auto", "compact", "scratch", "prose"),
    )
    examples: int = setting(
        0,
        "Worked examples of the same environment and level that stand before each task as earlier turns, for a model that must see the form first; each costs its tokens in every prompt. Only the own policy sees them.",
        minimum=0,
        maximum=64,
    )
    threads: int = setting(1, "CPU threads of the policy; more help only large models and hurt when cores are shared.", minimum=1)
    niceness: int = setting(
        10, "How far the policy yields the CPU to the network and other programs (0 to 19).", minimum=0, maximum=19
    )


@dataclass(frozen=True, slots=True)
class GenerationSection:
    """How completions are sampled."""

    num_generations: int = setting(
        8,
        "Completions per task (G); more give a better group advantage and cost generation time in proportion.",
        minimum=2,
        maximum=1024,
    )
    max_completion_length: int = setting(0, "Tokens after which a completion is cut; 0 takes the manifest's cap.", minimum=0)
    temperature: float = setting(
        1.0, "Sampling temperature; below 1 explores less, above 1 explores more and errs more.", above=0
    )
    stop: tuple[str, ...] = setting(
        (), "Texts that end a completion where the model says them, as its own end of sequence does; they are cut off the text."
    )
    engine: str = setting(
        "auto",
        "What samples completions: transformers (on any device), vllm (on a CUDA card, pip install 'swarmd[vllm]'; it keeps a copy of the weights), auto takes transformers.",
        choices=("auto", "transformers", "vllm"),
    )


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """What a round trains on, and how."""

    local: int = setting(2, "Own groups trained per round (I of swarm sampling); at least so many tasks are proposed.", minimum=0)
    external: int = setting(
        30, "Foreign groups trained per round at most (J of swarm sampling); 0 is ordinary reinforcement learning.", minimum=0
    )
    foreign_time: float = setting(
        0.75,
        "Share of a round's seconds for training on foreign groups: the node measures what groups cost it and draws so many, from training.local to training.external; 0 always draws the latter.",
        minimum=0,
        maximum=0.95,
    )
    groups_per_update: int = setting(
        3,
        "Groups per optimizer step: a round's groups make as many steps as they fill. Fewer groups per step learn faster at first and end noisier; 0 makes one step of all.",
        minimum=0,
    )
    learning_rate: float = setting(
        1e-4,
        "AdamW's step size; 1e-4 suits the embedded model and its several updates per round (at 4e-4 it soon unlearns again). 0, the default of all other models, takes 1e-6 for all weights and 1e-5 for an adapter.",
        minimum=0,
    )
    warmup_steps: int = setting(5, "Updates over which the learning rate rises from 0 to its value.", minimum=0)
    constant_steps: int = setting(
        120,
        "Updates after which the learning rate falls and groups_per_update grows, both with the square root of their number: noise comes to matter more than speed. 0, the default of all but the embedded model, keeps both.",
        minimum=0,
    )
    adam_beta1: float = setting(0.9, "AdamW's decay of the gradient's mean.", minimum=0, maximum=0.999999)
    adam_beta2: float = setting(
        0.95,
        "AdamW's decay of the gradient's square; 0.95 forgets faster than the usual 0.999 and suits a moving target.",
        minimum=0,
        maximum=0.999999,
    )
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay per step, as a fraction of the learning rate.", minimum=0)
    max_grad_norm: float = setting(
        1.0,
        "The gradient's norm is clipped to this; 0 leaves it alone, at the risk of one bad batch ruining the policy.",
        minimum=0,
    )
    num_iterations: int = setting(1, "Passes over each batch; from the second on the ratio clip is active.", minimum=1)
    epsilon: float = setting(0.2, "Lower clip of the probability ratio.", above=0)
    epsilon_high: float = setting(
        0.28, "Upper clip of the probability ratio; above epsilon lets unlikely tokens grow (clip-higher).", above=0
    )
    beta: float = setting(0.0, "Weight of the KL penalty to the base model; above 0 keeps a copy of it in memory.", minimum=0)
    scale_rewards: str = setting(
        "group",
        "group divides advantages by the group's standard deviation (GRPO), none does not (Dr. GRPO).",
        choices=("group", "none"),
    )
    loss_type: str = setting(
        "dapo",
        "How token losses are averaged: dapo over all tokens of the batch, grpo within each completion first.",
        choices=("dapo", "grpo"),
    )
    mask_truncated_completions: bool = setting(False, "Leave completions that were cut at the length cap out of the loss.")
    max_versions_behind: int = setting(
        0,
        "Rounds that may be generated before the ones before them have been trained on. 0 does one thing after the other; 1 keeps the device busy while answers are verified and shared, and trains on answers of one version before.",
        minimum=0,
        maximum=8,
    )
    micro_batch_tokens: int = setting(
        16384,
        "Tokens (padding included) per forward and backward pass at most; fewer where policy.memory has less room, or memory once ran out.",
        minimum=1,
    )


@dataclass(frozen=True, slots=True)
class TasksSection:
    """What the node proposes to itself."""

    environments: tuple[str, ...] = setting(
        (), "Environments to propose from, a subset of the manifest's; empty takes all of them."
    )
    per_round: int = setting(
        0,
        "Tasks proposed and solved per round; 0 takes training.local. More than that lets the sampler choose the informative ones.",
        minimum=0,
    )
    curriculum: bool = setting(
        True,
        "Propose environments and levels whose groups are likely neither solved nor hopeless, by own groups and those heard of others; off draws uniformly.",
    )
    choices: int = setting(
        4,
        "Tasks looked at for each that is solved: the one is taken whose solution the policy would give about half of the time. More finds more informative ones, and costs a forward pass each; 1 takes what comes.",
        minimum=1,
        maximum=8,
    )
    share: bool = setting(True, "Publish own groups; off learns from others without giving anything back.")
    share_uninformative: bool = setting(
        False, "Also publish groups whose rewards are all equal; they teach nothing and cost bandwidth."
    )


@dataclass(frozen=True, slots=True)
class DefencesSection:
    """What keeps strangers from teaching this node something bad. Each can be turned off, to measure what it is worth."""

    verify: bool = setting(
        True,
        "Rebuild every foreign task and score its answers; off believes the rewards that peers claim, which only a simulation may do.",
        off=False,
    )
    min_probability: float = setting(
        1e-3,
        "Foreign tokens that the own policy gives less probability than this are not trained on, nor answers with many of them; 0 trains on all.",
        minimum=0,
        maximum=1,
        off=0.0,
    )
    newcomer_share: float = setting(
        0.1,
        "The part of a training batch's weight that all signers together get who are not yet established with this node; 1 turns that off. Lower holds crowds of strangers back, and honest newcomers too.",
        above=0,
        maximum=1,
        off=1.0,
    )
    signer_share: float = setting(
        0.34,
        "The part of a batch's foreign groups that any one signer gets, more only where fewer than three are heard; 1 turns that off.",
        above=0,
        maximum=1,
        off=1.0,
    )
    canary_tasks: int = setting(
        48,
        "Held-out tasks answered before each checkpoint; if the policy has clearly unlearned, the node goes back to the checkpoint before. 0 never looks.",
        minimum=0,
        off=0,
    )


@dataclass(frozen=True, slots=True)
class PoolSection:
    """The store of received and own groups."""

    max_groups: int = setting(
        20000, "Foreign groups kept; of more, newcomers' and then the biggest holders' oldest are removed first.", minimum=1
    )
    max_bytes: int = setting(
        512 * 2**20, "Bytes of foreign envelopes kept on disk, with the same policy; a tenth is removed at once.", minimum=2**20
    )
    signer_messages_per_s: float = setting(
        5.0, "Envelopes per second taken of any one signer, a minute's worth at once; far beyond that it is cut off.", above=0
    )
    signer_bytes_per_s: float = setting(
        256.0 * 1024, "Bytes per second of any one signer's envelopes and bodies, with the same policy.", above=0
    )
    signer_verification: float = setting(
        0.2, "Seconds per second that the verifiers may spend on any one signer's groups, a minute's worth at once.", above=0
    )
    groups_per_peer: int = setting(2000, "Groups kept of any one peer, so that one cannot push out the others.", minimum=1)


@dataclass(frozen=True, slots=True)
class ScoringSection:
    """The verifiers."""

    workers: int = setting(
        2,
        "Worker processes that rebuild tasks and score answers, about 30 MB each; from two on, a stranger's slow group holds up nobody.",
        minimum=1,
    )
    timeout_s: float = setting(
        5.0,
        "CPU seconds a verifier may take for one group before it is killed and the group refused; it has four times as long.",
        above=0,
    )


@dataclass(frozen=True, slots=True)
class CheckpointSection:
    """What survives a kill."""

    every_rounds: int = setting(20, "Rounds between checkpoints; at most this much training is lost by a kill.", minimum=1)
    keep: int = setting(3, "Checkpoints kept; each is about three times the size of the trained weights.", minimum=1)


@dataclass(frozen=True, slots=True)
class NodeSection:
    """The node itself."""

    profile: str = setting(
        "default",
        "A starting point for all other keys: default, laptop (leaves the machine to its user), server (many peers, much disk), gpu (a real language model on a CUDA card).",
        choices=("default", "laptop", "server", "gpu"),
    )
    rounds: int = setting(0, "Rounds after which the node stops by itself; 0 goes on until it is told to stop.", minimum=0)
    min_round_s: float = setting(0.0, "Least seconds per round; above 0 leaves the machine time for other work.", minimum=0)
    seed: int = setting(0, "Seed of sampling and proposing; 0 takes a fresh one at each start.", minimum=0)
    log_level: str = setting(
        "info",
        "How much is written to standard error: debug, info, warning, error.",
        choices=("debug", "info", "warning", "error"),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """All sections. Built by `swarm.config.load`, in the order defaults < profile < node.toml < environment < command line."""

    node: NodeSection = field(default_factory=NodeSection)
    guest: GuestSection = field(default_factory=GuestSection)
    swarm: SwarmSection = field(default_factory=SwarmSection)
    network: NetworkSection = field(default_factory=NetworkSection)
    policy: PolicySection = field(default_factory=PolicySection)
    generation: GenerationSection = field(default_factory=GenerationSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    sampling: SamplingSection = field(default_factory=SamplingSection)
    tasks: TasksSection = field(default_factory=TasksSection)
    defences: DefencesSection = field(default_factory=DefencesSection)
    pool: PoolSection = field(default_factory=PoolSection)
    scoring: ScoringSection = field(default_factory=ScoringSection)
    checkpoint: CheckpointSection = field(default_factory=CheckpointSection)


SECTIONS: tuple[str, ...] = tuple(section.name for section in fields(Config))
