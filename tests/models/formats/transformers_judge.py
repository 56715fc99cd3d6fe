"""What transformers.cpp asks of Hugging Face's transformers.

  logits FOLDER OUT TOKENS   loads the model; writes the logits at every position as float32
  make KIND FOLDER           saves a random model, as its authors would
  tokens FOLDER TEXT OUT     loads the tokenizer; writes the ids of TEXT to OUT, and their text to TEXT.decoded
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched, whatever is misspelt
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import transformers

transformers.utils.logging.disable_progress_bar()


def logits(folder, out, tokens):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True)
    # Whatever transformers had to make up, or did not use, would show here.
    missing = [key for key in info["missing_keys"] if not key.endswith(("attn.bias", "attn.masked_bias", "inv_freq"))]
    assert not missing or (missing == ["lm_head.weight"] and model.config.tie_word_embeddings), missing
    assert not info["unexpected_keys"] and not info["mismatched_keys"], info
    ids = torch.tensor([[int(token) for token in tokens.split(",")]])
    with torch.no_grad():
        model.eval()(ids).logits[0].float().numpy().tofile(out)


def make(kind, folder):
    torch.manual_seed(11)
    if kind.startswith("gpt2"):
        config = transformers.GPT2Config(vocab_size=53, n_positions=19, n_embd=24, n_layer=2, n_head=3,
                                         bos_token_id=0, eos_token_id=0)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(vocab_size=53, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                          num_attention_heads=4, max_position_embeddings=19, pad_token_id=0)
        model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():  # away from the initial values, so that every parameter matters
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    if kind.endswith("bfloat16"):
        model = model.to(torch.bfloat16)
    model.save_pretrained(folder, safe_serialization=True, **({"max_shard_size": "20KB"} if "shards" in kind else {}))
    assert not kind.endswith("shards") or os.path.exists(os.path.join(folder, "model.safetensors.index.json"))


def tokens(folder, text_file, out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=not os.path.exists(
        os.path.join(folder, "tokenizer.model")))
    with open(text_file, encoding="utf-8", newline="") as file:
        text = file.read()
    ids = tokenizer(text)["input_ids"]
    with open(out, "w") as file:
        file.write(",".join(str(each) for each in ids))
    with open(text_file + ".decoded", "w", encoding="utf-8", newline="") as file:
        file.write(tokenizer.decode(ids))


if __name__ == "__main__":
    {"logits": logits, "make": make, "tokens": tokens}[sys.argv[1]](*sys.argv[2:])
