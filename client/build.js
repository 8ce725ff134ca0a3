// Placeholder of the client's build: part of the first version of the client.
