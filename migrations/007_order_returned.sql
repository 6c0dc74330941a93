-- Migration: 007_order_returned
-- Description: An order can come back
-- Author: Mira Olsen
-- Date: 2025-04-01

-- Inside a transaction PostgreSQL adds the value but does not let the same transaction use it. Nothing here does.
ALTER TYPE shop.order_state ADD VALUE 'returned' AFTER 'shipped';
