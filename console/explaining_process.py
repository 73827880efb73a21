"""The process that a server starts to explain memberships (grpc_server.explain_worker), with the way to Kafka."""

from flows.present import Present
from grpc_server.explain_worker import serve

if __name__ == "__main__":
    serve(Present)
