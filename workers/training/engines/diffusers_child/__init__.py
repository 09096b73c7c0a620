"""The process that trains: flow matching on a FLUX transformer with a peft LoRA. `engines.diffusers` starts it."""
