# The program alone, for links in containers:
#
#   make build && docker build -f docker/Dockerfile.self -t spockchaos/spockchaos bin
FROM scratch
COPY spockchaos /spockchaos
LABEL io.spockchaos.image=self
ENTRYPOINT ["/spockchaos"]
