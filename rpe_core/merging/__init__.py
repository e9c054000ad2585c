"""Exact merging of adapters; torch and safetensors only. No base model is ever loaded here."""
