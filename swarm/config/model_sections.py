"""The settings of the model that this node trains, and of how it answers tasks."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import Allowed, setting


@dataclass(frozen=True, slots=True)
class PolicySection:
    """The model that this node trains."""

    model: str = setting(
        "embedded",
        "Base model: embedded, smollm2 (a package, docs/smollm2.md), the path of a Hugging Face model folder, or a hub name. swarmd models lists some.",
        owner=True,
    )
    revision: str = setting("", "Commit hash of the hub's model to pin. Empty takes the newest, which can change under you.")
    device: str = setting("auto", "Device of the policy: auto, cpu, cuda, cuda:0, mps.", owner=True)
    generation_device: str = setting(
        "",
        "Second device (cuda:1), on which a copy of the policy generates while the first trains; empty does both on one. The copy takes the new weights after each update. Both work at once where training.max_versions_behind is above 0.",
    )
    dtype: str = setting(
        "auto",
        "Number format of weights and compute: auto, float32, bfloat16, float16. auto takes bfloat16 on a GPU that has it; on others float16 beneath an adapter, and float32 where all weights are trained.",
        Allowed(choices=("auto", "float32", "bfloat16", "float16")),
    )
    adapter: str = setting(
        "auto",
        "Kind of training: none (all weights), lora (thin matrices beside frozen weights), qlora (lora over 4-bit weights, CUDA only). auto takes the first of these that fits the memory; qlora needs pip install 'swarmd[gpu]'.",
        Allowed(choices=("auto", "none", "lora", "qlora")),
    )
    lora_rank: int = setting(
        16,
        "Rank of the adapter's matrices, whose alpha is twice the rank. More can learn more and costs memory in proportion.",
        Allowed(minimum=1, maximum=1024),
    )
    lora_targets: str = setting(
        "all-linear", "Layers that get an adapter: all-linear, or the ends of layer names, separated by commas (q_proj,v_proj)."
    )
    gradient_checkpointing: str = setting(
        "auto",
        "Keep only layer inputs in a training pass and compute the rest again: a fraction of the memory, a third more time. auto does it where memory is short.",
        Allowed(choices=("auto", "on", "off")),
    )
    memory: float = setting(
        0.0,
        "Device memory for the policy: up to 1 a share of it, above 1 a number of GiB. 0 takes nine tenths of a GPU's free memory, or half of the machine's. From it follow how many completions are sampled at once, and the size of a training pass.",
        Allowed(minimum=0),
        owner=True,
    )
    rendering: str = setting(
        "auto",
        "Prompt template of tasks: compact, scratch, prose or auto. auto takes compact for the embedded model, and prose for others where the swarm allows it.",
        Allowed(choices=("auto", "compact", "scratch", "prose")),
    )
    template_arguments: tuple[str, ...] = setting(
        ("enable_thinking=false",),
        "Arguments of the model's chat template, each key=value; a template that does not know one leaves it. The default keeps Qwen3 and SmolLM3 from long reasoning, which a swarm's cap of tokens would cut.",
    )
    examples: int = setting(
        0,
        "Worked examples of the same environment and level before each task, as earlier turns; for a model that must see the form first. Each costs its tokens in every prompt. Only the own policy sees them.",
        Allowed(minimum=0, maximum=64),
    )
    threads: int = setting(
        1, "CPU threads of the policy. More help only large models, and hurt when cores are shared.", Allowed(minimum=1)
    )
    niceness: int = setting(
        10,
        "Niceness of the policy's process: higher yields the CPU to the network and other programs.",
        Allowed(minimum=0, maximum=19),
    )


@dataclass(frozen=True, slots=True)
class GenerationSection:
    """How completions are sampled."""

    num_generations: int = setting(
        8,
        "Completions per task (G). More give a better group advantage and cost generation time in proportion.",
        Allowed(minimum=2, maximum=1024),
    )
    max_completion_length: int = setting(
        0, "Tokens after which a completion is cut; 0 takes the manifest's cap.", Allowed(minimum=0)
    )
    temperature: float = setting(
        1.0, "Sampling temperature. Below 1 explores less; above 1 explores more and errs more.", Allowed(above=0)
    )
    stop: tuple[str, ...] = setting(
        (), "Texts that end a completion, as the model's end of sequence does; they are cut off the text."
    )
    engine: str = setting(
        "auto",
        "Engine that samples completions: transformers (any device), vllm (a CUDA card; install '.[vllm]' with -c constraints-vllm.txt), auto takes transformers. vllm keeps a copy of the weights.",
        Allowed(choices=("auto", "transformers", "vllm")),
    )
