"""Stubs that protoc writes from protos/gradloom/v1; `make stubs` renews them, nobody edits them."""
