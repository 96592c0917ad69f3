from npid.app import app

app()
