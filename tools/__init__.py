"""What looks after DVC: parallel train stages and repair after a kill."""
